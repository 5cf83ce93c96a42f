"""LOMO and AdaLomo: steps that need no more than one gradient at a time."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from tunesmith.contracts import Optimizer
from tunesmith.runtime.weight_by_weight import Rule, WeightByWeight, check_single_process, decay

from tunesmith_lomo.options import LomoOptions

if TYPE_CHECKING:
    from transformers import PreTrainedModel
    from tunesmith.plan import Plan

#: The least square a gradient is taken to have, and the least size a weight is taken to have.
LEAST_SQUARE, LEAST_SIZE = 1e-30, 1e-3
#: The mean square of gradients forgets as ``1 − t^DECAY`` (Shazeer and Stern 2018, arXiv:1804.04235, §7.2).
DECAY = -0.8


class LomoOptimizer(Optimizer):
    """Gradient descent within the backward pass (Lv et al. 2023, arXiv:2306.09782, Algorithm 1)."""

    def __init__(self, plan: Plan) -> None:
        self.name = str(plan["optim"])
        self.clip = plan.options(LomoOptions).lomo_clip_value

    def rule(self) -> Rule:
        """The step of one weight."""
        return descend

    def arguments(self, plan: Plan) -> dict[str, Any]:
        """There is no norm of all gradients to clip by."""
        return {"max_grad_norm": 0.0}

    def build(self, model: PreTrainedModel, groups: list[dict[str, Any]], arguments: Any) -> torch.optim.Optimizer:
        """Over the groups as they come; weights move while gradients are computed.

        :raises TunesmithError: the run has several processes.
        """
        check_single_process(f"optim: {self.name}", arguments)
        defaults = {"lr": arguments.learning_rate, "weight_decay": arguments.weight_decay}
        return WeightByWeight(groups, partial(_clipped, self.clip, self.rule()), defaults, at_once=True)


class AdaLomoOptimizer(LomoOptimizer):
    """The same with a rate for each row and column (Lv et al. 2023, arXiv:2310.10195, Algorithm 1)."""

    def rule(self) -> Rule:
        """The step of one weight."""
        return adapt


def _clipped(
    clip: float | None,
    rule: Rule,
    weight: torch.Tensor,
    gradient: torch.Tensor,
    state: dict[str, Any],
    group: Mapping[str, Any],
) -> None:
    rule(weight, gradient if clip is None else gradient.clamp(-clip, clip), state, group)


def descend(weight: torch.Tensor, gradient: torch.Tensor, state: dict[str, Any], group: Mapping[str, Any]) -> None:
    """``w ← w − lr · g``, with decoupled weight decay."""
    decay(weight, group)
    weight.sub_(gradient, alpha=group["lr"])


def adapt(weight: torch.Tensor, gradient: torch.Tensor, state: dict[str, Any], group: Mapping[str, Any]) -> None:
    """``u = g / √v̂`` with ``v̂`` from means over rows and columns, no larger than 1 on average, times the weight's own size."""
    gradient = gradient.float()
    state["steps"] = state.get("steps", 0) + 1
    update = gradient * _mean_square(gradient, state, 1.0 - state["steps"] ** DECAY).rsqrt_()
    update /= _size(update).clamp_min(1.0)
    decay(weight, group)
    weight.sub_(update * _size(weight.float()).clamp_min(LEAST_SIZE), alpha=group["lr"])


def _mean_square(gradient: torch.Tensor, state: dict[str, Any], keep: float) -> torch.Tensor:
    square = gradient.pow(2).add_(LEAST_SQUARE)
    if gradient.ndim < 2:
        return _running(state, "square", square, keep).clone()
    rows = _running(state, "rows", square.mean(-1), keep)
    columns = _running(state, "columns", square.mean(-2), keep)
    return (rows / rows.mean(-1, keepdim=True)).unsqueeze(-1) * columns.unsqueeze(-2)


def _running(state: dict[str, Any], name: str, now: torch.Tensor, keep: float) -> torch.Tensor:
    state[name] = state[name].mul_(keep).add_(now, alpha=1 - keep) if name in state else now.clone()
    held: torch.Tensor = state[name]
    return held


def _size(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.pow(2).mean().sqrt()
