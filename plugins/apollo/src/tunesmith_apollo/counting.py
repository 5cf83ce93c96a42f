"""How much the optimizer keeps, for the plan's estimate. No torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tunesmith.projected_states import ADAM, Shape, count_projected


def count_states(shapes: Mapping[str, Shape], value: Callable[[str], Any]) -> float:
    """Numbers kept for each number that learns, when all weights do.

    :param shapes: the shape of every weight by its name.
    :param value: flat key → its value.
    """

    def kept(shape: Shape) -> float:
        rank = min(value("apollo_rank"), *shape)
        held = rank * min(shape) if value("apollo_proj") == "svd" else 0
        return ADAM * rank * max(shape) + held

    return count_projected(shapes, value("apollo_target"), kept)
