"""transformers' Trainer with a loss per token that does not depend on how rows are split into batches, devices or packs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from transformers import Trainer
from tunesmith.runtime.checkpointing_trainer import SessionTrainer
from tunesmith.runtime.collate import IGNORED, learned
from tunesmith.runtime.router_loss import router_loss, router_weight
from tunesmith.runtime.token_loss import plain_losses, weighted_mean

from tunesmith_sft.objectives import Objective
from tunesmith_sft.predicting import answer_all, measure


@dataclass
class Tally:
    """What evaluation has summed up so far: loss times weight, weight, right guesses, guesses."""

    loss: float = 0.0
    weight: float = 0.0
    right: float = 0.0
    guesses: float = 0.0

    def add(self, other: Tally) -> None:
        """Take up another tally."""
        self.loss, self.weight = self.loss + other.loss, self.weight + other.weight
        self.right, self.guesses = self.right + other.right, self.guesses + other.guesses

    def metrics(self, prefix: str, *, accuracy: bool) -> dict[str, float]:
        """Means over all tokens."""
        found = {f"{prefix}_loss": self.loss / max(self.weight, 1e-12)}
        return {**found, f"{prefix}_accuracy": self.right / max(self.guesses, 1e-12)} if accuracy else found


class TokenTrainer(SessionTrainer, Trainer):
    """Learns tokens with weights; evaluates by the mean over tokens."""

    loss_is_scaled_for_ga = True  # every loss is already a share of the accumulated batch

    def __init__(self, *args: Any, accuracy: bool = False, objective: Objective | None = None, **kwargs: Any) -> None:
        self.accuracy, self.objective = accuracy, objective
        self.tally = Tally()
        super().__init__(*args, **kwargs)

    # -- loss ----------------------------------------------------------------------------------------------------------

    def _get_num_items_in_batch(self, batch_samples: list[Any], device: torch.device) -> torch.Tensor | None:
        if not batch_samples or "labels" not in batch_samples[0]:
            return None
        total = torch.stack([learned(batch).float() for batch in batch_samples]).sum().to(device)
        if self.args.average_tokens_across_devices and self.args.world_size > 1:
            total = self.accelerator.gather(total).sum()
        shared = self.get_tp_size() * self.get_cp_size() * self.get_sp_size()
        return (total / shared).clamp(min=1e-8)  # a batch with nothing to learn costs nothing

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: torch.Tensor | None = None
    ) -> Any:
        """Another loss that was asked for, or an accelerator's; the model's where it can be told the whole weight; or ours."""
        fused = self.objective or self.session.losses.get("token")
        if return_outputs and self.accuracy and self.objective is None:
            fused = None  # guesses are counted on logits, which only the plain way makes
        balance = router_weight(self.session.plan) if model.training else 0.0
        if fused is None and "loss_weights" not in inputs and self.model_accepts_loss_kwargs and not balance:
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        share = learned(inputs)
        inputs = {**inputs, "output_router_logits": True} if balance else dict(inputs)
        weights, labels = inputs.pop("loss_weights", None), inputs.pop("labels")
        total = num_items_in_batch if num_items_in_batch is not None else learned({"labels": labels}).clamp(min=1)
        losses, outputs = (fused or plain_losses)(model, inputs, labels, self.args.label_smoothing_factor)
        loss = weighted_mean(losses, weights, total)
        if balance:  # by this batch's share of the accumulated one, so that the sum is a mean
            loss = loss + balance * router_loss(outputs) * share / total
        if self.args.average_tokens_across_devices and num_items_in_batch is not None:
            loss = loss * (self.accelerator.num_processes // self.get_tp_size())
        return (loss, outputs) if return_outputs else loss

    # -- evaluation ----------------------------------------------------------------------------------------------------

    def prediction_step(
        self, model: Any, inputs: dict[str, Any], prediction_loss_only: bool, ignore_keys: list[str] | None = None
    ) -> tuple[torch.Tensor, None, None]:
        """Sum up one batch; nothing of its size is kept."""
        inputs = self._prepare_inputs(inputs)
        weight = learned(inputs).float()
        labels = inputs["labels"]
        with torch.no_grad(), self.compute_loss_context_manager():
            one = torch.ones((), device=weight.device)
            total, outputs = self.compute_loss(model, inputs, return_outputs=True, num_items_in_batch=one)
        total = total.detach() / (
            self.accelerator.num_processes // self.get_tp_size() if self.args.average_tokens_across_devices else 1
        )
        self._count(total, weight, outputs["logits"] if self.accuracy else None, labels)
        return total / weight.clamp(min=1e-8), None, None

    def _count(self, total: torch.Tensor, weight: torch.Tensor, logits: torch.Tensor | None, labels: torch.Tensor) -> None:
        right = guesses = torch.zeros((), device=weight.device)
        if logits is not None:
            targets = labels[:, 1:]
            counted = targets != IGNORED
            right = ((logits[:, :-1].argmax(-1) == targets) & counted).sum()
            guesses = counted.sum()
        sums = torch.stack([total.float(), weight, right.float(), guesses.float()]).to(torch.float64)
        if self.args.world_size > 1:
            sums = self.accelerator.reduce(sums, "sum")
        self.tally.add(Tally(*sums.tolist()))

    def evaluation_loop(self, *args: Any, metric_key_prefix: str = "eval", **kwargs: Any) -> Any:
        """As transformers', with means over tokens instead of means over batches."""
        self.tally = Tally()
        output = super().evaluation_loop(*args, metric_key_prefix=metric_key_prefix, **kwargs)
        output.metrics.update(self.tally.metrics(metric_key_prefix, accuracy=self.accuracy))
        return output

    def evaluate(self, eval_dataset: Any = None, *args: Any, **kwargs: Any) -> dict[str, float]:
        """Evaluate one dataset or several; over several there is a mean over all their tokens too."""
        several = self.eval_dataset if eval_dataset is None else eval_dataset
        if not isinstance(several, dict):
            return self._evaluate_one(several, *args, **kwargs)
        whole, metrics = Tally(), dict[str, float]()
        prefix = kwargs.pop("metric_key_prefix", "eval")
        for name, dataset in several.items():
            metrics |= self._evaluate_one(dataset, *args, metric_key_prefix=f"{prefix}_{name}", **kwargs)
            whole.add(self.tally)
        together = whole.metrics(prefix, accuracy=self.accuracy)
        self.log(dict(together))
        self.callback_handler.on_evaluate(self.args, self.state, self.control, {**metrics, **together})
        return {**metrics, **together}

    def _evaluate_one(self, dataset: Any, *args: Any, **kwargs: Any) -> dict[str, float]:
        dataset = self.eval_dataset[dataset] if isinstance(dataset, str) else dataset
        metrics: dict[str, float] = super().evaluate(dataset, *args, **kwargs)
        if self.args.predict_with_generate:
            lines = answer_all(self.accelerator.unwrap_model(self.model), dataset.store, self.session)
            answers = measure(self.session, lines, kwargs.get("metric_key_prefix", "eval"))
            self.log(dict(answers))
            metrics |= answers
        return metrics
