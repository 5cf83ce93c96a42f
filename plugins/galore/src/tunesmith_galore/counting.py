"""How much the optimizer keeps, for the plan's estimate. No torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tunesmith.projected_states import ADAM, Shape, count_projected

#: Eight bits, and a scale of 32 for every 256 of them, over 32.
EIGHT_BITS = (8 + 32 / 256) / 32


def count_states(shapes: Mapping[str, Shape], value: Callable[[str], Any]) -> float:
    """Numbers kept for each number that learns, when all weights do.

    :param shapes: the shape of every weight by its name.
    :param value: flat key → its value.
    """

    def kept(shape: Shape) -> float:
        rank = min(value("galore_rank"), *shape)
        bits = 4 / 32 if value("galore_quantize") else 1.0
        return held * rank * max(shape) + bits * rank * min(shape)

    held = ADAM * (EIGHT_BITS if value("galore_8bit") else 1)
    return count_projected(shapes, value("galore_target"), kept, held)
