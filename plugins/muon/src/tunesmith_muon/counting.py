"""How much the optimizer keeps, for the plan's estimate. No torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import prod
from typing import Any

#: Matrices that are tables of vectors.
TABLES = ("embed_tokens", "wte", "wpe", "word_embeddings", "lm_head")


def count_states(shapes: Mapping[str, tuple[int, ...]], value: Callable[[str], Any]) -> float:
    """Numbers kept for each number that learns: one for matrices, two for the rest."""
    matrices = (
        prod(shape)
        for name, shape in shapes.items()
        if len(shape) == 2 and name.removesuffix(".weight").rpartition(".")[2] not in TABLES
    )
    return 2.0 - sum(matrices) / max(1, sum(map(prod, shapes.values())))
