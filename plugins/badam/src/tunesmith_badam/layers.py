"""Adam on one layer at a time."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
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

    def layer(self, done: int, count: int) -> int:
        """Which of ``count`` layers learns after ``done`` steps."""
        turn = done // self.interval if self.interval and self.mode != "fixed" else 0
        if self.mode == "random":
            return self._drawn(turn, count)
        if self.mode == "descending":
            return ((count - 1 if self.start is None else self.start) - turn) % count
        return ((self.start or 0) + turn) % count

    def begins(self, done: int) -> bool:
        """Whether a turn begins after ``done`` steps."""
        return done % self.interval == 0 if self.interval and self.mode != "fixed" else done == 0

    def _drawn(self, turn: int, count: int) -> int:
        """Every layer once in an order of each round's own, after the first layer where one was given."""
        if self.start is not None and turn == 0:
            return self.start
        round_, place = divmod(turn - (self.start is not None), count)
        return int(torch.randperm(count, generator=torch.Generator().manual_seed(self.seed + round_))[place])


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
        self.layers, self.turns, self.done = [*layers.items()], turns, 0
        self._take_turn()

    def _take_turn(self) -> None:
        name, learning = self.layers[self.turns.layer(self.done, len(self.layers))]
        chosen = {id(weight) for weight in learning.values()}
        for group in self.param_groups:
            for weight in group["params"]:
                weight.requires_grad_(id(weight) in chosen)
                if id(weight) not in chosen:
                    weight.grad = None
                    self.state.pop(weight, None)
        announce(self.turns, name, learning)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """A step of the layer whose turn it is; the next one's turn comes after ``interval`` of them."""
        loss = super().step(closure)
        self.done += 1
        if self.turns.begins(self.done):
            self._take_turn()
        return loss

    def state_dict(self) -> dict[str, Any]:
        """torch's, and how many steps were done, which says whose turn it is."""
        return {**super().state_dict(), "turn": {"done": self.done}}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on in the middle of a layer's turn."""
        super().load_state_dict({key: value for key, value in state_dict.items() if key != "turn"})
        self.done = state_dict["turn"]["done"]
        self._take_turn()


def announce(turns: Turns, name: str, learning: Iterable[str]) -> None:
    """Say whose turn it is, as loudly as ``badam_verbose`` wants it."""
    if turns.verbose:
        log.info("%s learns%s", name, f": {', '.join(learning)}" if turns.verbose > 1 else "")


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
