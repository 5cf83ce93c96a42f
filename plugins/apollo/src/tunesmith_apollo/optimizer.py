"""APOLLO's step: the gradient itself, each channel scaled as Adam in a few random dimensions would scale it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from tunesmith.runtime.low_rank import Subspace, leading, random
from tunesmith.runtime.projected_optimizer import ProjectedOptimizer
from tunesmith.runtime.weight_by_weight import Rule, adam_direction, adamw, decay

from tunesmith_apollo.options import ApolloOptions

if TYPE_CHECKING:
    from tunesmith.plan import Plan

TINY = 1e-8
#: How much longer a step may be than the last one (Fira: Chen et al. 2024, arXiv:2410.01623, §3.3).
GROWTH = 1.01
#: Apart enough for a weight's seeds never to meet another's.
STRIDE = 1_000_003


class ApolloOptimizer(ProjectedOptimizer):
    """Scaled gradients for the linear layers of ``apollo_target``, AdamW for everything else."""

    stem = "apollo"

    def __init__(self, plan: Plan) -> None:
        super().__init__(plan)
        self.options = plan.options(ApolloOptions)

    def facts(self) -> dict[str, Any]:
        """How gradients are scaled."""
        options = self.options
        return {
            "rank": options.apollo_rank,
            "interval": options.apollo_update_interval,
            "factor": math.sqrt(options.apollo_scale),
            "random": options.apollo_proj == "random",
            "kind": options.apollo_proj_type,
            "channels": options.apollo_scale_type == "channel",
            "front": options.apollo_scale_front,
        }

    def rule(self, projected: Iterable[torch.Tensor], arguments: Any) -> Rule:
        """APOLLO's step, with seeds of each weight's own."""
        return partial(step, {weight: arguments.seed + STRIDE * n for n, weight in enumerate(projected)})


def step(
    seeds: Mapping[torch.Tensor, int],
    weight: torch.Tensor,
    gradient: torch.Tensor,
    state: dict[str, Any],
    group: Mapping[str, Any],
) -> None:
    """``w ← w − lr · √α · G · s`` with ``s = ‖Adam(Pᵀ G)‖ / ‖Pᵀ G‖`` for each channel (Zhu et al. 2024, arXiv:2412.05270,
    Algorithm 1); steps that grow too fast are shortened.

    :param seeds: where each weight's random subspaces begin.
    """
    if "rank" not in group:
        adamw(weight, gradient, state, group)
        return
    space = subspace(seeds[weight], gradient, state, group)
    low = space.down(gradient)
    moved = gradient * _scale(low, adam_direction(low, state, group), space, group)
    if group["front"]:
        moved *= group["factor"]
    moved *= _limit(moved, state)
    decay(weight, group)
    weight.add_(moved, alpha=-group["lr"] * (1.0 if group["front"] else group["factor"]))


def subspace(seed: int, gradient: torch.Tensor, state: dict[str, Any], group: Mapping[str, Any]) -> Subspace:
    """The subspace of this step. Random ones are drawn again from their seed at every step rather than held."""
    steps = state.get("steps", 0)
    if group["random"]:
        return random(gradient, group["rank"], group["kind"], seed + steps // group["interval"])
    if steps % group["interval"] == 0:
        found = leading(gradient, group["rank"], group["kind"])
        state["left"], state["right"] = found.left, found.right
    return Subspace(state["left"], state["right"])


def _scale(low: torch.Tensor, direction: torch.Tensor, space: Subspace, group: Mapping[str, Any]) -> torch.Tensor:
    if not group["channels"]:
        return direction.norm() / (low.norm() + TINY)
    # What shrank is what is summed over, so that each channel of the other side has its own scale.
    shrunk = 0 if space.left is not None else 1
    return direction.norm(dim=shrunk, keepdim=True) / (low.norm(dim=shrunk, keepdim=True) + TINY)


def _limit(moved: torch.Tensor, state: dict[str, Any]) -> torch.Tensor:
    norm = moved.norm()
    shorter = torch.ones_like(norm) if "norm" not in state else GROWTH / (norm / (state["norm"] + TINY)).clamp_min(GROWTH)
    state["norm"] = norm * shorter
    return shorter
