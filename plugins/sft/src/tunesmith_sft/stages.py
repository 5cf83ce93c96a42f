"""The stages ``sft`` and ``pt``: the same trainer, evaluated and used in their own ways."""

from __future__ import annotations

import math
from dataclasses import replace

from tunesmith.data.store import TokenStore
from tunesmith.runtime.collate import Collator
from tunesmith.runtime.isolation import check_isolation
from tunesmith.runtime.precision import autocast
from tunesmith.runtime.session import Session
from tunesmith.runtime.streaming import StreamedRows
from tunesmith.runtime.training_stage import TrainingStage, reader_of

from tunesmith_sft.objectives import objective
from tunesmith_sft.options import SftOptions
from tunesmith_sft.predicting import predict
from tunesmith_sft.trainer import TokenTrainer


class PtStage(TrainingStage):
    """Learns every token of plain documents."""

    def trainer(self, session: Session) -> TokenTrainer:
        """The trainer of this run."""
        return TokenTrainer(**self.parts(session), data_collator=collator(session), accuracy=self.plan["compute_accuracy"])

    def judge(self, trainer: TokenTrainer, session: Session) -> dict[str, float]:
        """Loss and perplexity."""
        metrics = super().judge(trainer, session)
        return {**metrics, **perplexities(metrics)}


class SftStage(PtStage):
    """Learns the answers of conversations."""

    def trainer(self, session: Session) -> TokenTrainer:
        """The trainer of this run, with the loss that its options ask for."""
        options = self.plan.options(SftOptions)
        return TokenTrainer(
            **self.parts(session),
            data_collator=replace(collator(session), evenly=options.loss_normalization == "sequence"),
            accuracy=self.plan["compute_accuracy"],
            objective=objective(options, session),
        )

    def judge(self, trainer: TokenTrainer, session: Session) -> dict[str, float]:
        """Loss, and what it answers where that is asked for."""
        metrics = super(PtStage, self).judge(trainer, session)
        return {**metrics, **(predict(trainer, session) if session.args.do_predict else {})}


def collator(session: Session) -> Collator:
    """How rows become batches: packs in the way in which this model keeps their documents apart."""
    packed = any(store.packed for store in stores(session))
    joined = False
    if packed:
        rows = max(session.args.per_device_train_batch_size, session.args.per_device_eval_batch_size)
        joined = not check_isolation(session.models["policy"], autocast(session.plan, session.backend), rows)
    return Collator(session.tokenizer.pad_token_id, packed=packed, joined=joined, media=reader_of(session))


def stores(session: Session) -> list[TokenStore | StreamedRows]:
    """All data of the run."""
    return [*([session.train_data] if session.train_data is not None else []), *session.eval_data.values()]


def perplexities(metrics: dict[str, float]) -> dict[str, float]:
    """``eval_perplexity`` for ``eval_loss``, infinite where the loss is beyond what a number can hold."""
    found = {}
    for name, value in metrics.items():
        if name.endswith("_loss"):
            found[f"{name.removesuffix('_loss')}_perplexity"] = math.exp(value) if value < 700 else math.inf
    return found
