"""How much the optimizer keeps, for the plan's estimate. No torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import prod
from typing import Any


def count_states(shapes: Mapping[str, tuple[int, ...]], value: Callable[[str], Any]) -> float:
    """Numbers kept for each number that learns: a first moment each, and a second one for each row."""
    rows = sum(prod(shape[:-1]) for shape in shapes.values())
    return 1.0 + rows / max(1, sum(map(prod, shapes.values())))
