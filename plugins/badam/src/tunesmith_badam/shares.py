"""Adam on a share of each weight's numbers at a time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from tunesmith.runtime.weight_by_weight import adam_direction

#: Weights with fewer numbers learn as a whole.
SMALL = 100


@dataclass(frozen=True)
class Share:
    """``ratio`` of a weight's numbers, the next ones after ``interval`` steps (0: never), side by side or ``scattered``.

    ``seeds``: where each weight's scatter begins.
    """

    ratio: float
    interval: int
    scattered: bool
    seeds: Mapping[torch.Tensor, int]

    def step(self, weight: torch.Tensor, gradient: torch.Tensor, state: dict[str, Any], group: Mapping[str, Any]) -> None:
        """AdamW on the numbers whose turn it is; when it is over, their moments are let go (Luo et al. 2024,
        arXiv:2404.02827, Appendix on ratio mode of the authors' program)."""
        done = state.pop("done", 0)
        if self.interval and done and done % self.interval == 0:
            turn = state.get("turn", 0) + 1
            state.clear()
            state["turn"] = turn
        chosen = self.numbers(weight, state)
        flat = weight.view(-1)
        moved = adam_direction(gradient.reshape(-1)[chosen], state, group)
        flat[chosen] = flat[chosen] * (1 - group["lr"] * group["weight_decay"]) - group["lr"] * moved
        state["done"] = done + 1

    def numbers(self, weight: torch.Tensor, state: dict[str, Any]) -> torch.Tensor:
        """Indices, among the weight's numbers in order, of those that learn now."""
        total = weight.numel()
        if total < SMALL:
            return torch.arange(total, device=weight.device)
        if "numbers" in state:
            held: torch.Tensor = state["numbers"]
            return held
        count = max(1, int(total * self.ratio))
        places = (torch.arange(count, device=weight.device) + state.get("turn", 0) * count) % total
        if self.scattered:
            generator = torch.Generator(weight.device).manual_seed(self.seeds[weight])
            # Held, since drawing them takes longer than the step.
            places = torch.randperm(total, generator=generator, device=weight.device)[places]
            state["numbers"] = places
        return places
