"""Liger's chunked losses of preferences, with a reference that has already spoken."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from liger_kernel.chunked_loss.dpo_loss import LigerFusedLinearDPOFunction
from liger_kernel.chunked_loss.fused_linear_preference import LigerFusedLinearPreferenceBase
from torch import nn
from tunesmith import TunesmithError
from tunesmith.contracts import Accelerator

from tunesmith_liger.plugin import PAIR_LOSSES

if TYPE_CHECKING:
    from transformers import PreTrainedModel
    from tunesmith.plan import Plan

IGNORED = -100


@dataclass
class Asked:
    """What the output layer is to compute in place of logits, and the log-probabilities it found on the way."""

    kind: str
    labels: torch.Tensor
    reference: tuple[torch.Tensor, torch.Tensor]
    beta: float
    chosen: torch.Tensor | None = None
    rejected: torch.Tensor | None = None


class LigerPreference(Accelerator):
    """Computes ``"pairs:…"`` losses inside the output layer: logits of one pair are there at a time, and only once.

    Called as ``loss(model, inputs, labels, reference, beta)``: the rows of a batch are the better answers, then the worse ones,
    and ``reference`` holds the log-probabilities that the reference model gives both, each of shape (pairs,). Returns the loss
    of each pair and the log-probabilities of the better and of the worse answers, these without gradient.
    Liger computes gradients together with the loss, so that nothing is computed twice. ``pairs`` counts what went through.
    """

    def __init__(self, plan: Plan) -> None:
        self.asked: Asked | None = None
        self.pairs = 0

    def losses(self) -> Mapping[str, Callable[..., Any]]:
        """One for each loss that Liger has."""
        return {f"pairs:{kind}": partial(self._loss, kind) for kind in PAIR_LOSSES}

    def after_tuner(self, model: PreTrainedModel) -> PreTrainedModel:
        """Prepare the output layer; logits are what it gives until it is asked for losses.

        :raises TunesmithError: it is no plain linear layer.
        """
        head = model.get_output_embeddings()
        if type(head) is not nn.Linear:
            what = f"liger_preference_loss: the output layer is of the kind {type(head).__name__}, not a plain linear one."
            raise TunesmithError(what, "Leave liger_preference_loss out, or lm_head out of what is adapted.")
        head.forward = self._in_place_of(head.forward, head)
        return model

    def _loss(
        self,
        kind: str,
        model: Any,
        inputs: Mapping[str, Any],
        labels: torch.Tensor,
        reference: tuple[torch.Tensor, torch.Tensor],
        beta: float,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        asked = Asked(kind, nn.functional.pad(labels[:, 1:], (0, 1), value=IGNORED), reference, beta)
        with self._asking(asked):
            losses = model(**inputs)["logits"]
        if asked.chosen is None or asked.rejected is None:
            raise RuntimeError(f"the output layer of {type(model).__name__} was not asked for losses")
        return losses.flatten(), asked.chosen, asked.rejected

    @contextmanager
    def _asking(self, asked: Asked) -> Iterator[None]:
        self.asked = asked
        try:
            yield
        finally:
            self.asked = None

    def _in_place_of(self, usual: Callable[..., torch.Tensor], head: nn.Linear) -> Callable[..., torch.Tensor]:
        def forward(hidden: torch.Tensor) -> torch.Tensor:
            if self.asked is None:
                return usual(hidden)
            self.pairs += len(hidden) // 2
            return _pair_losses(hidden, head, self.asked).view(-1, 1, 1)

        return forward


def _pair_losses(hidden: torch.Tensor, head: nn.Linear, asked: Asked) -> torch.Tensor:
    count = len(hidden) // 2
    found = []
    for at in range(count):
        two = [at, count + at]
        chosen, rejected = (logps[at : at + 1] for logps in asked.reference)
        facts = {"loss_type": asked.kind, "beta": asked.beta, "ref_chosen_logps": chosen, "ref_rejected_logps": rejected}
        found.append(OnePair.apply(hidden[two], head.weight, asked.labels[two], head.bias, facts))
    losses, chosen, rejected = zip(*found, strict=True)
    asked.chosen, asked.rejected = torch.cat(chosen).detach(), torch.cat(rejected).detach()
    return torch.stack(losses)


class OnePair(LigerFusedLinearPreferenceBase):
    """Liger's loss of one pair. Its own class wants the reference model's hidden states; here its answers are known already."""

    preference_loss_fn = staticmethod(LigerFusedLinearDPOFunction.preference_loss_fn)

    @staticmethod
    def forward(ctx: Any, hidden: Any, weight: Any, target: Any, bias: Any, facts: Mapping[str, Any]) -> Any:
        """The loss, and the log-probabilities of the better and the worse answer."""
        loss, (chosen, rejected, *_) = LigerFusedLinearPreferenceBase.forward(
            OnePair,
            ctx,
            hidden,
            weight,
            target,
            bias,
            compute_nll_loss=False,
            compiled=False,
            average_log_prob=False,
            **facts,
        )
        ctx.mark_non_differentiable(chosen, rejected)
        return loss, chosen, rejected

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor, *_: Any) -> Any:
        """Liger has the gradients already: they are scaled."""
        hidden, weight, bias = (None if one is None else one * grad for one in ctx.saved_tensors)
        return hidden, weight, None, bias, None
