"""The rows that a tuner may look at before the first step, and the loss that they would give."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch.utils.data import DataLoader

from tunesmith.runtime.streaming import StreamedRows

if TYPE_CHECKING:
    from tunesmith.runtime.checkpointing_trainer import SessionTrainer


def fit_to_data(trainer: SessionTrainer) -> None:
    """Let the tuner fit what it has just added to the rows that will be learned, on every process alike."""
    model, was_training = trainer.model, trainer.model.training

    def loss(batch: Any) -> torch.Tensor:
        with trainer.compute_loss_context_manager():
            found: torch.Tensor = trainer.compute_loss(model, trainer._prepare_inputs(batch))
        return found

    trainer.session.tuner.initialize(model, rows_one_by_one(trainer), loss)
    model.train(was_training)


def rows_one_by_one(trainer: SessionTrainer) -> Iterator[Any]:
    """Batches of one training row each, in an order that only the seed decides; the run's own random numbers stay as they are.

    A stream is read a second time from its beginning, so that the run's own place in it stays where it is.
    """
    if trainer.stream is not None:
        yield from StreamedRows(trainer.stream.stream, trainer.args).loader(1, trainer.data_collator)
        return
    generator = torch.Generator().manual_seed(trainer.args.seed)
    order = torch.randperm(len(trainer.train_dataset), generator=generator).tolist()
    yield from DataLoader(
        trainer.train_dataset, batch_size=1, sampler=order, collate_fn=trainer.data_collator, generator=generator
    )
