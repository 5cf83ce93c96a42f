"""Which weights an optimizer treats in its own way, and their groups, split without losing what the tuner said about them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch

from tunesmith.errors import TunesmithError, nearest

ALL = "all"


def linear_weights(model: torch.nn.Module, wanted: Sequence[str], key: str) -> list[torch.Tensor]:
    """The learning weights of linear layers that ``wanted`` names, by the end of their dotted names.

    ``all`` means every linear layer but the output head.

    :param key: the flat key that ``wanted`` comes from, for messages.
    :raises TunesmithError: a name fits no linear layer that learns.
    """
    layers = {
        name: module.weight
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and module.weight.requires_grad
    }
    if ALL in wanted:
        head = model.get_output_embeddings() if hasattr(model, "get_output_embeddings") else None
        found = [weight for weight in layers.values() if head is None or weight is not head.weight]
        return found or _none(key, "all", layers)
    for one in wanted:
        if not any(_ends(name, one) for name in layers):
            return _none(key, one, layers)
    return [weight for name, weight in layers.items() if any(_ends(name, one) for one in wanted)]


def _ends(name: str, end: str) -> bool:
    return name == end or name.endswith(f".{end}")


def _none(key: str, wanted: str, layers: Mapping[str, Any]) -> list[torch.Tensor]:
    known = sorted({name.rpartition(".")[2] for name in layers})
    hint = nearest(wanted, known) or (f"There are {', '.join(known)}." if known else "No linear layer of this model learns.")
    raise TunesmithError(f"{key}: no linear layer that learns is called {wanted}.", hint)


def split(
    groups: Sequence[Mapping[str, Any]], chosen: Collection[torch.Tensor], extras: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """Each group in two: the ``chosen`` weights with ``extras`` added, and the rest. Empty ones are left out."""
    marked = {id(weight) for weight in chosen}
    parts: list[dict[str, Any]] = []
    for group in groups:
        inside = [weight for weight in group["params"] if id(weight) in marked]
        outside = [weight for weight in group["params"] if id(weight) not in marked]
        parts += [{**group, "params": inside, **extras}] if inside else []
        parts += [{**group, "params": outside}] if outside else []
    return parts
