"""transformers' Trainer with the loss of the stage ``kto``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from tunesmith.runtime.batch_trainer import BatchLoss, BatchTrainer

from tunesmith_preference.answers import Answers, read_answers
from tunesmith_preference.options import KtoOptions
from tunesmith_preference.reference import Reference

NAMES = ("ref_logps", "ref_other_logps")
OTHER = "other_"


def read_both(model: Any, batch: Mapping[str, Any]) -> list[torch.Tensor]:
    """Log-probabilities of the answers, and of other rows' answers to the same prompts."""
    return [read_answers(model, batch).logps, read_answers(model, others(batch)).logps]


def read_own(model: Any, batch: Mapping[str, Any]) -> list[torch.Tensor]:
    """Log-probabilities of the answers alone."""
    return [read_answers(model, batch).logps]


def others(batch: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a batch that holds other rows' answers."""
    return {name.removeprefix(OTHER): tensor for name, tensor in batch.items() if name.startswith(OTHER)}


class KtoTrainer(BatchTrainer):
    """Learns answers that were liked and answers that were not: Ethayarajh et al. 2024, arXiv:2402.01306, Eq. 7 and 8.

    The reference point, how far the policy has moved away from the reference model, is estimated once for each step: from all
    rows of all its batches on all processes, before the first of them is learned from. In an evaluation it is that of a batch.
    """

    def __init__(self, *args: Any, options: KtoOptions, reference: Reference, **kwargs: Any) -> None:
        self.options, self.reference = options, reference
        super().__init__(*args, **kwargs)

    def size_of(self, batch: Mapping[str, Any]) -> int:
        """Rows of a batch."""
        return len(batch["input_ids"])

    # -- a step as a whole ---------------------------------------------------------------------------------------------

    def look_over(self, batches: Sequence[dict[str, Any]]) -> None:
        """Tell each batch the step's reference point, and how many of its answers were liked."""
        sums = torch.zeros(3, dtype=torch.float64, device=self.args.device)
        for batch in batches:
            ready = self._prepare_inputs(batch)
            batch |= dict(zip(self.reference.names, self.reference.pairs(ready), strict=True))
            ratios = self._moved(self.model, {**ready, **batch})
            counts = [float(len(ratios)), float(ready["desirable"].sum())]
            sums += torch.tensor([float(ratios.sum()), *counts], dtype=torch.float64, device=sums.device)
        total, count, liked = self.summed(sums).tolist()
        for batch in batches:
            batch["step"] = {"point": max(0.0, total / count), "liked": liked, "rows": count}

    def _moved(self, model: Any, batch: Mapping[str, Any]) -> torch.Tensor:
        """How much likelier each other row's answer has become, (rows,), without gradients; zero where nobody asks."""
        if self.options.kto_loss != "kto":
            return torch.zeros(self.size_of(batch), device=batch["input_ids"].device)
        with torch.no_grad(), self.compute_loss_context_manager():
            other = read_answers(model, others(batch), token_loss=self.session.losses.get("token"))
            return other.logps - self.reference.pairs(batch)[1]

    # -- a batch -------------------------------------------------------------------------------------------------------

    def batch_loss(self, model: Any, batch: Mapping[str, Any]) -> BatchLoss:
        """Losses of one batch, and what users expect to see beside them."""
        liked = batch["desirable"]
        step = batch.get("step") or self._alone(model, batch)
        answers = read_answers(model, batch, token_loss=self.session.losses.get("token"))
        ratios = answers.logps - self.reference.pairs(batch)[0]
        losses = kto_losses(ratios, liked, step["point"], self.options)
        if self.options.pref_ftx and step["liked"]:
            losses = losses - self.options.pref_ftx * liked * answers.means * (step["rows"] / step["liked"])
        return BatchLoss(losses.sum(), self._measures(answers, ratios, liked, step["point"]))

    def _alone(self, model: Any, batch: Mapping[str, Any]) -> dict[str, float]:
        """What a batch that stands by itself knows of its step."""
        point = float(self._moved(model, batch).mean().clamp(min=0))
        return {"point": point, "liked": float(batch["desirable"].sum()), "rows": float(self.size_of(batch))}

    def _measures(
        self, answers: Answers, ratios: torch.Tensor, liked: torch.Tensor, point: float
    ) -> dict[str, tuple[torch.Tensor, float]]:
        rewards = self.options.pref_beta * ratios.detach()
        found: dict[str, tuple[torch.Tensor, float]] = {"kl": (rewards.new_tensor(point * len(liked)), len(liked))}
        for side, picked in (("chosen", liked), ("rejected", ~liked)):
            count = int(picked.sum())
            parts = {"rewards": rewards, "logps": answers.logps, "logits": answers.logits}
            seen = {name: values for name, values in parts.items() if values is not None}
            found |= {f"{name}/{side}": (values[picked].sum(), count) for name, values in seen.items()}
        return found

    def shown(self, means: dict[str, float]) -> dict[str, float]:
        """With the margin between both kinds of answers, whose means are over different rows."""
        sides = [means[name] for name in ("rewards/chosen", "rewards/rejected") if name in means]
        return {**means, "rewards/margins": sides[0] - sides[1]} if len(sides) == 2 else means


def kto_losses(ratios: torch.Tensor, liked: torch.Tensor, point: float, options: KtoOptions) -> torch.Tensor:
    """The loss of each answer, (rows,).

    :param ratios: log-probability of each answer minus that of the reference model.
    :param point: the reference point.
    """
    distance = options.pref_beta * (ratios - (point if options.kto_loss == "kto" else 0.0))
    signed = torch.where(liked, distance, -distance)
    weights = torch.where(liked, options.kto_chosen_weight, options.kto_rejected_weight)
    return weights * (1 - torch.sigmoid(signed))
