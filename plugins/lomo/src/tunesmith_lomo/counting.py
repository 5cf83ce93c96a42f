"""How much the optimizers keep, for the plan's estimate. No torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import prod
from typing import Any


def no_states(shapes: Mapping[str, tuple[int, ...]], value: Callable[[str], Any]) -> float:
    """LOMO keeps nothing."""
    return 0.0


def factored_states(shapes: Mapping[str, tuple[int, ...]], value: Callable[[str], Any]) -> float:
    """AdaLomo keeps a number for each row and for each column."""
    kept = sum(prod(shape) if len(shape) < 2 else prod(shape[:-1]) + prod(shape[:-2]) * shape[-1] for shape in shapes.values())
    return kept / max(1, sum(map(prod, shapes.values())))
