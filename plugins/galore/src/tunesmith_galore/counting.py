"""How much the optimizer keeps, for the plan's estimate. No torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import prod
from typing import Any

#: Matrices that are no linear layer inside the model.
NO_LAYER = ("embed_tokens", "wte", "wpe", "word_embeddings", "lm_head")
ADAM = 2.0


def count_states(shapes: Mapping[str, tuple[int, ...]], value: Callable[[str], Any]) -> float:
    """Numbers kept for each number that learns, when all weights do.

    :param shapes: the shape of every weight by its name.
    :param value: flat key → its value.
    """
    kept = sum(_kept(shape, value) if _projected(name, shape, value) else ADAM * prod(shape) for name, shape in shapes.items())
    return kept / max(1, sum(map(prod, shapes.values())))


def _projected(name: str, shape: tuple[int, ...], value: Callable[[str], Any]) -> bool:
    module = name.removesuffix(".weight")
    wanted = value("galore_target")
    if len(shape) != 2 or module.rpartition(".")[2] in NO_LAYER:
        return False
    return "all" in wanted or any(module == one or module.endswith(f".{one}") for one in wanted)


def _kept(shape: tuple[int, ...], value: Callable[[str], Any]) -> float:
    rank = min(value("galore_rank"), *shape)
    bits = 4 / 32 if value("galore_quantize") else 1.0
    return ADAM * rank * max(shape) + bits * rank * min(shape)
