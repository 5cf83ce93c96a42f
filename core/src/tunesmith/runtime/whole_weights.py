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
    for module in model.modules():
        for name, weight in list(module._parameters.items()):
            if weight is None or not wanted(weight):
                continue
            if id(weight) not in whole and (found := gather(weight)) is not None:
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
