"""A model whose weights lie in parts, made whole for as long as it takes to save it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch


@contextmanager
def in_place(
    model: torch.nn.Module,
    gather: Callable[[torch.nn.Parameter], torch.Tensor | None],
    wanted: Callable[[torch.nn.Parameter], bool],
) -> Iterator[None]:
    """Within it, the first process finds whole weights on the CPU where parts were. Every process enters it.

    :param gather: called for each weight in the same order in every process; the whole weight in the first one, else ``None``.
    :param wanted: which weights to make whole.
    """
    parts: list[tuple[dict[str, Any], str, torch.nn.Parameter]] = []
    whole: dict[int, torch.nn.Parameter] = {}
    gathered: set[int] = set()  # a weight that sits in two places is gathered once, and by all alike
    for module in model.modules():
        for name, weight in list(module._parameters.items()):
            if weight is None or not wanted(weight):
                continue
            if id(weight) not in gathered:
                gathered.add(id(weight))
                found = gather(weight)
                if found is not None:
                    whole[id(weight)] = torch.nn.Parameter(found, requires_grad=weight.requires_grad)
            parts.append((module._parameters, name, weight))
    parts = [part for part in parts if id(part[2]) in whole]
    for holder, name, weight in parts:
        holder[name] = whole[id(weight)]
    try:
        yield
    finally:
        for holder, name, weight in parts:
            holder[name] = weight


def size_of(weight: torch.Tensor) -> int:
    """How many numbers a weight has, also where this process holds a part of it or nothing (ZeRO's ``ds_numel``)."""
    return int(getattr(weight, "ds_numel", weight.numel()))
