"""How much an optimizer keeps that looks at linear layers in few dimensions, for the plan's estimate. No torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import prod

#: Matrices that are no linear layer inside the model.
NO_LAYER = ("embed_tokens", "wte", "wpe", "word_embeddings", "lm_head")
#: What Adam keeps for each number of a weight.
ADAM = 2.0

Shape = tuple[int, ...]


def count_projected(
    shapes: Mapping[str, Shape], target: Sequence[str], kept: Callable[[Shape], float], usual: float = ADAM
) -> float:
    """Numbers kept for each number that learns, when all weights do.

    :param shapes: the shape of every weight by its name.
    :param target: names of the layers that are, or ``all``.
    :param kept: how many numbers are kept for a layer of some shape.
    :param usual: how many are kept for each number of any other weight.
    """
    total = sum(kept(shape) if _projected(name, shape, target) else usual * prod(shape) for name, shape in shapes.items())
    return total / max(1, sum(map(prod, shapes.values())))


def _projected(name: str, shape: Shape, target: Sequence[str]) -> bool:
    module = name.removesuffix(".weight")
    if len(shape) != 2 or module.rpartition(".")[2] in NO_LAYER:
        return False
    return "all" in target or any(module == one or module.endswith(f".{one}") for one in target)
