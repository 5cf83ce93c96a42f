"""A trainer whose loss is a mean over all that an optimizer step learns from, however that is split.

Micro-batches of any size, on any number of processes, give the same loss and the same gradients: every part is divided by
the size of the whole. Evaluation is a mean over the whole dataset in the same way.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import Trainer

from tunesmith.runtime.checkpointing_trainer import SessionTrainer
from tunesmith.runtime.measures import Measures, Sums


@dataclass(frozen=True)
class BatchLoss:
    """What a batch gives.

    :param total: the sum of the losses of its parts (pairs, answers), with gradients.
    :param measures: what is logged beside it.
    :param outputs: what is worth keeping of a prediction, with the batch's parts in the first dimension.
    """

    total: torch.Tensor
    measures: Sums = field(default_factory=dict)
    outputs: torch.Tensor | None = None


class BatchTrainer(SessionTrainer, Trainer):
    """transformers' Trainer for stages that learn from pairs, or from whole answers, rather than from tokens."""

    loss_is_scaled_for_ga = True  # every loss is already a share of the whole step

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.measures, self.judged = Measures(), Measures()
        super().__init__(*args, **kwargs)

    # -- what a stage says ---------------------------------------------------------------------------------------------

    @abstractmethod
    def size_of(self, batch: Mapping[str, Any]) -> int:
        """How many parts ``batch`` has: what the loss is a mean over."""

    @abstractmethod
    def batch_loss(self, model: Any, batch: Mapping[str, Any]) -> BatchLoss:
        """The loss of one batch on its device."""

    def look_over(self, batches: Sequence[dict[str, Any]]) -> None:
        """See all batches of a step, on this process, before the first is learned from; add to them what each needs to know."""

    def shown(self, means: dict[str, float]) -> dict[str, float]:
        """What is logged, from the means of what was measured."""
        return means

    # -- learning ------------------------------------------------------------------------------------------------------

    def get_batch_samples(self, *args: Any, **kwargs: Any) -> Any:
        """As transformers', looked over."""
        batches, total = super().get_batch_samples(*args, **kwargs)
        if batches:
            self.look_over(batches)
        return batches, total

    def summed(self, table: torch.Tensor) -> torch.Tensor:
        """A tensor added up over all processes."""
        if self.args.world_size == 1:
            return table
        found: torch.Tensor = self.accelerator.reduce(table, "sum")
        return found

    def _get_num_items_in_batch(self, batch_samples: list[Any], device: torch.device) -> torch.Tensor | None:
        total = torch.tensor(float(sum(map(self.size_of, batch_samples))), device=device)
        if self.args.world_size > 1:
            total = self.accelerator.gather(total).sum()
        return total.clamp(min=1.0)

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: torch.Tensor | None = None
    ) -> Any:
        """This batch's share of the step's loss."""
        found = self.batch_loss(model, inputs)
        self.measures.add(found.measures)
        total = num_items_in_batch if num_items_in_batch is not None else self.size_of(inputs)
        loss = found.total / total * self.args.world_size  # processes are averaged over
        return (loss, {"outputs": found.outputs}) if return_outputs else loss

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """As transformers', with the means of what was measured since the last line."""
        if "loss" in logs:
            logs |= self.shown(self.measures.take(self.summed))
        super().log(logs, start_time)

    def load_running(self) -> None:
        """Begin with nothing measured, or with what the resumed run had."""
        self.measures.take()  # a tuner that was fitted to the data has run the loss too
        super().load_running()

    def running(self) -> dict[str, Any]:
        """What was measured since the last log line, for a checkpoint."""
        return {**super().running(), "measures": self.measures.state()}

    def go_on(self, running: Mapping[str, Any]) -> None:
        """Take up what :meth:`running` gave."""
        super().go_on(running)
        self.measures.restore(running.get("measures", {}), self.args.device)

    # -- evaluation ----------------------------------------------------------------------------------------------------

    def prediction_step(
        self, model: Any, inputs: dict[str, Any], prediction_loss_only: bool, ignore_keys: list[str] | None = None
    ) -> tuple[torch.Tensor, torch.Tensor | None, None]:
        """Sum up one batch."""
        inputs = self._prepare_inputs(inputs)
        with torch.no_grad(), self.compute_loss_context_manager():
            found = self.batch_loss(model, inputs)
        size = self.size_of(inputs)
        self.judged.add({"loss": (found.total, size), **found.measures})
        return found.total.detach() / max(size, 1), None if prediction_loss_only else found.outputs, None

    def evaluation_loop(self, *args: Any, metric_key_prefix: str = "eval", **kwargs: Any) -> Any:
        """As transformers', with means over the whole dataset instead of means over batches."""
        self.judged = Measures()
        output = super().evaluation_loop(*args, metric_key_prefix=metric_key_prefix, **kwargs)
        means = self.shown(self.judged.take(self.summed))
        output.metrics.update({f"{metric_key_prefix}_{name}": value for name, value in means.items()})
        return output
