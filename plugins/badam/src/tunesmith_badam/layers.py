"""Adam on one layer at a time."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from tunesmith.runtime.weight_by_weight import WeightByWeight, adam_direction, decay

log = logging.getLogger("tunesmith.badam")
HALF = (torch.bfloat16, torch.float16)


@dataclass(frozen=True)
class Turns:
    """When layers change: ``interval`` steps each (0: never), in the order that ``mode`` says, from the layer ``start``."""

    mode: str
    interval: int
    start: int | None
    seed: int
    verbose: int = 0


class LayersInTurn(WeightByWeight):
    """Only the weights of one layer learn at a time; when its turn is over, its moments are let go (Luo et al. 2024,
    arXiv:2404.02827, Algorithm 1).

    Weights in half precision have a copy in float32 while it is their turn, to which the steps are added (§2.2 there).

    :param layers: names of weights of each layer; weights in none of them never learn.
    """

    def __init__(
        self,
        groups: list[dict[str, Any]],
        layers: Mapping[str, Mapping[str, torch.Tensor]],
        turns: Turns,
        defaults: dict[str, Any],
    ) -> None:
        super().__init__(groups, step, defaults)
        self.layers, self.turns = [*layers.items()], turns
        self.round, self.waiting, self.done = 0, [], 0
        self.now = self._first()
        self._take_turn()

    def _first(self) -> int:
        if self.turns.start is not None:
            return self.turns.start
        return {"descending": len(self.layers) - 1, "random": -1}.get(self.turns.mode, 0)

    def _next(self) -> int:
        if self.turns.mode == "random":
            if not self.waiting:
                generator = torch.Generator().manual_seed(self.turns.seed + self.round)
                self.waiting, self.round = torch.randperm(len(self.layers), generator=generator).tolist(), self.round + 1
            return int(self.waiting.pop())
        return (self.now + (-1 if self.turns.mode == "descending" else 1)) % len(self.layers)

    def _take_turn(self) -> None:
        if self.now < 0:
            self.now = self._next()
        name, learning = self.layers[self.now]
        chosen = {id(weight) for weight in learning.values()}
        for group in self.param_groups:
            for weight in group["params"]:
                weight.requires_grad_(id(weight) in chosen)
                if id(weight) not in chosen:
                    weight.grad = None
                    self.state.pop(weight, None)
        if self.turns.verbose:
            log.info("%s learns%s", name, f": {', '.join(learning)}" if self.turns.verbose > 1 else "")

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """A step of the layer whose turn it is; the next one's turn comes after ``interval`` of them."""
        loss = super().step(closure)
        self.done += 1
        if self.turns.interval and self.turns.mode != "fixed" and self.done % self.turns.interval == 0:
            self.now = self._next()
            self._take_turn()
        return loss

    def state_dict(self) -> dict[str, Any]:
        """torch's, and whose turn it is."""
        turn = {"now": self.now, "round": self.round, "waiting": list(self.waiting), "done": self.done}
        return {**super().state_dict(), "turn": turn}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on in the middle of a layer's turn."""
        turn = state_dict["turn"]
        super().load_state_dict({key: value for key, value in state_dict.items() if key != "turn"})
        self.now, self.round, self.waiting, self.done = turn["now"], turn["round"], list(turn["waiting"]), turn["done"]
        self._take_turn()


def step(weight: torch.Tensor, gradient: torch.Tensor, state: dict[str, Any], group: Mapping[str, Any]) -> None:
    """AdamW, on a float32 copy where the weight itself is too coarse."""
    if weight.dtype not in HALF:
        exact = weight
    else:
        exact = state["exact"] if "exact" in state else weight.float()
        state["exact"] = exact
    decay(exact, group)
    exact.add_(adam_direction(gradient.float(), state, group), alpha=-group["lr"])
    if exact is not weight:
        weight.copy_(exact)
