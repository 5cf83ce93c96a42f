"""Adam on one layer at a time where no process holds whole weights: ZeRO at stage 3.

DeepSpeed decides once what learns, and hands the optimizer flat pieces of weights, one group after the other in each step. So
every layer has groups of its own, each piece counts its steps, and from the count follows whose turn it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from tunesmith.runtime.weight_by_weight import WeightByWeight

from tunesmith_badam.layers import Turns, announce, step

#: How DeepSpeed marks a weight whose optimizer it has made.
READY = "_z3_optimizer"


class LayersInParts(WeightByWeight):
    """As :class:`~tunesmith_badam.layers.LayersInTurn`, for the pieces of weights that one process holds.

    All layers have gradients before DeepSpeed looks; from then on only the one whose turn it is. DeepSpeed keeps a copy of
    every piece in float32; moments are there for one layer only.
    """

    def __init__(
        self,
        groups: list[dict[str, Any]],
        layers: Mapping[str, Mapping[str, torch.nn.Parameter]],
        turns: Turns,
        defaults: dict[str, Any],
    ) -> None:
        self.layers, self.turns, self.now = [*layers.items()], turns, -1
        super().__init__(_by_layer(groups, [weights for _, weights in self.layers]), step, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Move the pieces that are here now, if it is their layer's turn."""
        loss = closure() if closure is not None else None
        for group in self.param_groups:
            for piece in group["params"]:
                self._move(piece, group)
        return loss

    def _move(self, piece: torch.Tensor, group: Mapping[str, Any]) -> None:
        state = self.state[piece]
        done = state.pop("done", 0)
        if self.turns.layer(done, len(self.layers)) != group["layer"] or self.turns.begins(done):
            state.clear()  # the moments of a turn that is over
        if self.turns.layer(done, len(self.layers)) == group["layer"] and piece.grad is not None:
            self.rule(piece, piece.grad, state, group)
        state["done"] = done + 1

    def take_turn(self, model: torch.nn.Module, inputs: Any) -> None:
        """Before the model computes: see that only the layer whose turn it is has gradients."""
        if not model.training or not all(hasattr(weight, READY) for weight in self.layers[0][1].values()):
            return
        done = max((state.get("done", 0) for state in self.state.values()), default=0)
        now = self.turns.layer(done, len(self.layers))
        if now == self.now:
            return
        for number, (_, weights) in enumerate(self.layers):
            for weight in weights.values():
                _rest(weight) if number != now else weight.requires_grad_(True)
        self.now = now
        announce(self.turns, *self.layers[now])


def _rest(weight: torch.nn.Parameter) -> None:
    """No gradient from now on, and nothing left of the last one: it would count in the norm of all gradients."""
    if weight.requires_grad:
        from deepspeed.utils import safe_set_local_grad

        safe_set_local_grad(weight, torch.zeros_like(weight.ds_tensor))
        weight.requires_grad_(False)


def _by_layer(groups: list[dict[str, Any]], layers: list[Mapping[str, torch.nn.Parameter]]) -> list[dict[str, Any]]:
    """Each group in as many as there are layers, which know their number; weights in no layer never learn."""
    layer_of = {id(weight): number for number, weights in enumerate(layers) for weight in weights.values()}
    parts: list[dict[str, Any]] = []
    for group in groups:
        mine: dict[int, list[torch.nn.Parameter]] = {}
        for weight in group["params"]:
            if id(weight) in layer_of:
                mine.setdefault(layer_of[id(weight)], []).append(weight)
            else:
                weight.requires_grad_(False)
        parts += [{**group, "params": weights, "layer": number} for number, weights in sorted(mine.items())]
    return parts
