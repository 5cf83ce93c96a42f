"""Optimizers that look at the gradients of linear layers in few dimensions, and move everything else as AdamW does."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, ClassVar

import torch

from tunesmith.contracts import Optimizer
from tunesmith.runtime.weight_by_weight import Rule, WeightByWeight, adam_defaults, check_single_process
from tunesmith.runtime.weight_groups import linear_weights, split

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from tunesmith.plan import Plan


class ProjectedOptimizer(Optimizer):
    """One with the flat keys ``STEM_target`` (the layers that are projected) and ``STEM_layerwise`` (weights move at once)."""

    stem: ClassVar[str]

    def __init__(self, plan: Plan) -> None:
        self._target = plan[f"{self.stem}_target"]
        self._at_once = bool(plan[f"{self.stem}_layerwise"])

    @abstractmethod
    def facts(self) -> dict[str, Any]:
        """What the group of the projected weights holds beside Adam's; ``rank`` is how a rule knows it."""

    @abstractmethod
    def rule(self, projected: Iterable[torch.Tensor], arguments: Any) -> Rule:
        """How a weight moves."""

    def arguments(self, plan: Plan) -> dict[str, Any]:
        """Weights that move at once leave no norm of all gradients to clip by."""
        return {"max_grad_norm": 0.0} if self._at_once else {}

    def build(self, model: PreTrainedModel, groups: list[dict[str, Any]], arguments: Any) -> torch.optim.Optimizer:
        """Over ``groups``, each parted into what is projected and the rest.

        :raises TunesmithError: the target names no layer that learns, or the run has several processes.
        """
        if self._at_once:
            check_single_process(f"{self.stem}_layerwise", arguments)
        projected = linear_weights(model, self._target, f"{self.stem}_target")
        parts = split(groups, projected, self.facts())
        return WeightByWeight(parts, self.rule(projected, arguments), adam_defaults(arguments), at_once=self._at_once)
