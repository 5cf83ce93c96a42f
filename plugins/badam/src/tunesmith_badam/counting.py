"""How much the optimizer keeps, for the plan's estimate. No torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import prod
from typing import Any

from tunesmith_badam.blocks import block_of

ADAM = 2.0


def count_states(shapes: Mapping[str, tuple[int, ...]], value: Callable[[str], Any]) -> float:
    """Numbers kept for each number that learns: Adam's two, for the largest layer or the share that learns at a time.

    With ``pure_bf16`` a layer is held in float32 besides; the numbers are twice as long then.
    """
    if value("badam_mode") == "ratio":
        return ADAM * float(value("badam_update_ratio"))
    sizes: dict[str, int] = {}
    for name, shape in shapes.items():
        if block := block_of(name):
            sizes[block] = sizes.get(block, 0) + prod(shape)
    per_number = 3.0 * 2 if value("pure_bf16") else ADAM
    return per_number * max(sizes.values(), default=0) / max(1, sum(map(prod, shapes.values())))
