"""GaLore's step: Adam in the subspace of the largest singular vectors of the gradient."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from tunesmith.errors import TunesmithError
from tunesmith.runtime.low_rank import Subspace, leading
from tunesmith.runtime.projected_optimizer import ProjectedOptimizer
from tunesmith.runtime.weight_by_weight import Rule, adam_direction, decay

from tunesmith_galore.four_bits import grow, shrink
from tunesmith_galore.options import GaloreOptions

if TYPE_CHECKING:
    from tunesmith.plan import Plan

#: How alike the last subspaces must be, and how many of them, before new ones are looked for half as often
#: (Q-GaLore: Zhang et al. 2024, arXiv:2407.08296, §3.3).
ALIKE, RECENT = 0.4, 5


class GaloreOptimizer(ProjectedOptimizer):
    """Adam on projected gradients for the linear layers of ``galore_target``, AdamW for everything else."""

    stem = "galore"

    def __init__(self, plan: Plan) -> None:
        super().__init__(plan)
        self.options = plan.options(GaloreOptions)

    def facts(self) -> dict[str, Any]:
        """What gradients are projected to."""
        options = self.options
        return {
            "rank": options.galore_rank,
            "interval": options.galore_update_interval,
            "scale": options.galore_scale,
            "kind": "both" if options.galore_proj_type == "full" else options.galore_proj_type,
            "quantize": options.galore_quantize,
        }

    def rule(self, projected: Iterable[torch.Tensor], arguments: Any) -> Rule:
        """GaLore's step, over moments in as many bits as ``galore_8bit`` says.

        :raises TunesmithError: bitsandbytes is not installed.
        """
        if not self.options.galore_8bit:
            return step
        try:
            from tunesmith_galore.eight_bits import direction
        except ImportError as error:
            raise TunesmithError("galore_8bit needs the package bitsandbytes.", "pip install bitsandbytes") from error
        return partial(step, direction=direction)


def step(
    weight: torch.Tensor,
    gradient: torch.Tensor,
    state: dict[str, Any],
    group: Mapping[str, Any],
    direction: Callable[..., torch.Tensor] = adam_direction,
) -> None:
    """``w ← w − lr · α · P Adam(Pᵀ G)`` (Zhao et al. 2024, arXiv:2403.03507, Algorithm 2), with decoupled weight decay.

    :param direction: Adam's, from a gradient, the state and the group.
    """
    decay(weight, group)
    if "rank" not in group:
        weight.add_(direction(gradient, state, group), alpha=-group["lr"])
        return
    space = subspace(gradient, state, group)
    weight.add_(space.up(direction(space.down(gradient), state, group)), alpha=-group["lr"] * group["scale"])


def subspace(gradient: torch.Tensor, state: dict[str, Any], group: Mapping[str, Any]) -> Subspace:
    """The subspace of this step: that of the gradient when it is time, else the one held."""
    steps = state.get("steps", 0)
    if steps >= state.get("due", 0):
        found = leading(gradient, group["rank"], group["kind"])
        if group["quantize"]:
            _note_likeness(found, state, group)
        state["due"] = steps + state.get("interval", group["interval"])
        state["left"], state["right"] = (_held(side, group) for side in (found.left, found.right))
    return Subspace(*(grow(side) if isinstance(side, dict) else side for side in (state["left"], state["right"])))


def _held(side: torch.Tensor | None, group: Mapping[str, Any]) -> Any:
    return shrink(side) if side is not None and group["quantize"] else side


def _note_likeness(found: Subspace, state: dict[str, Any], group: Mapping[str, Any]) -> None:
    side = found.left if found.left is not None else found.right
    assert side is not None
    first, recent = side[:, 0].clone(), state.setdefault("likeness", [])
    if "first" in state:
        recent.append(torch.nn.functional.cosine_similarity(state["first"], first, dim=0).abs().item())
        del recent[:-RECENT]
    state["first"] = first
    state.setdefault("interval", group["interval"])
    if len(recent) == RECENT and sum(recent) / RECENT >= ALIKE:
        state["interval"] *= 2
