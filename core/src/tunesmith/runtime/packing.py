"""What of a model is held in few bits and what is not, in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from typing import Any


def describe_packed(model: Any, packed: Collection[Any]) -> str:
    """One line for the log about a model in which the layers ``packed`` are quantised."""
    return f"{len(packed)} layers are quantised; matrices that are not: {_listed(plain_matrices(model, packed)) or 'none'}"


def plain_matrices(model: Any, packed: Collection[Any]) -> Counter[str]:
    """The last two words of the names of matrices outside the layers ``packed``, and how often each occurs."""
    inside = {id(parameter) for layer in packed for parameter in layer.parameters()}
    matrices = (name for name, p in model.named_parameters() if p.ndim > 1 and id(p) not in inside)
    return Counter(".".join(name.removesuffix(".weight").split(".")[-2:]) for name in matrices)


def _listed(counts: Counter[str]) -> str:
    return ", ".join(f"{name} (×{count})" if count > 1 else name for name, count in counts.items())
