"""peft's low-rank updates of fused experts, as the kernel's six matrices, and gradients the way back.

peft updates ``gate_up_proj`` (experts, 2 · width, hidden) and ``down_proj`` (experts, hidden, width) as one matrix each: A is
(rank · experts, in) with the expert first, B is (out, rank · experts) with the expert last. The kernel has gate and up apart.
So A of ``gate_up_proj`` goes to both, its gradient is the sum of both, and B is cut in two. Scales are multiplied into B.
Several adapters, or ranks that differ, lie beside each other in the rank.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

GATE_UP, DOWN = "gate_up_proj", "down_proj"
#: Which of the kernel's matrices one of the model's stands for.
PARTS = {GATE_UP: ("gate", "up"), DOWN: ("down",)}


@dataclass(frozen=True)
class Update:
    """One adapter on one of the two weights: ``low`` and ``high`` are peft's own parameters A and B."""

    weight: str
    low: torch.Tensor
    high: torch.Tensor
    scale: float
    experts: int

    @property
    def rank(self) -> int:
        """Its rank for one expert."""
        return int(self.low.shape[0]) // self.experts


def updates_of(wrappers: Sequence[Any]) -> list[Update]:
    """The active adapters of peft's wrappers around the two weights of one layer's experts."""
    return [
        Update(
            weight=wrapper.parameter_name,
            low=wrapper.lora_A[name].weight,
            high=wrapper.lora_B[name].weight,
            scale=float(wrapper.scaling[name]),
            experts=wrapper.num_experts,
        )
        for wrapper in wrappers
        if not wrapper.disable_adapters
        for name in wrapper.active_adapters
        if name in wrapper.lora_A
    ]


def rank_of(updates: Sequence[Update]) -> int:
    """The rank that holds all of them."""
    return max((sum(one.rank for one in updates if one.weight == weight) for weight in PARTS), default=0)


def pack(updates: Sequence[Update], matrices: Mapping[str, torch.Tensor]) -> None:
    """Write ``updates`` into the kernel's matrices."""
    for matrix in matrices.values():
        matrix.zero_()
    for one, place in _placed(updates):
        low = one.low.detach().reshape(one.experts, one.rank, -1)
        high = one.high.detach().reshape(-1, one.rank, one.experts).permute(2, 0, 1) * one.scale
        parts = PARTS[one.weight]
        for part, rows in zip(parts, high.chunk(len(parts), dim=1), strict=True):
            matrices[f"{part}_lora_a"][:, place].copy_(low)
            matrices[f"{part}_lora_b"][:, :, place].copy_(rows)


def unpack(updates: Sequence[Update], gradients: Mapping[str, torch.Tensor]) -> list[torch.Tensor]:
    """The gradients of A and B of each update in turn, from those of the kernel's matrices; in float32."""
    found = []
    for one, place in _placed(updates):
        parts = PARTS[one.weight]
        low = torch.stack([gradients[f"{part}_lora_a"][:, place].float() for part in parts]).sum(0)
        high = torch.cat([gradients[f"{part}_lora_b"][:, :, place].float() for part in parts], dim=1) * one.scale
        found += [low.reshape(one.low.shape), high.permute(1, 2, 0).reshape(one.high.shape)]
    return found


def _placed(updates: Sequence[Update]) -> Iterator[tuple[Update, slice]]:
    """Each update with its part of the rank."""
    used = dict.fromkeys(PARTS, 0)
    for one in updates:
        start = used[one.weight]
        used[one.weight] = start + one.rank
        yield one, slice(start, start + one.rank)
