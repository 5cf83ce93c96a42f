"""An optimizer's state as plain tensors of this process, and back into parts of whole ones."""

from __future__ import annotations

from typing import Any

import torch
from torch.distributed.tensor import DTensor


def own_parts(state: Any) -> Any:
    """A state dictionary in which this process's part stands for every tensor that lies in parts."""
    if isinstance(state, DTensor):
        return state.to_local()
    if isinstance(state, dict):
        return {name: own_parts(one) for name, one in state.items()}
    if isinstance(state, (list, tuple)):
        return type(state)(own_parts(one) for one in state)
    return state


def as_parts(state: dict[str, Any], optimizer: Any) -> dict[str, Any]:
    """The same with parts again, laid out as the weights they belong to."""
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    held = {
        index: {name: _as_part(one, weights[int(index)]) for name, one in entries.items()}
        for index, entries in state["state"].items()
    }
    return {**state, "state": held}


def _as_part(one: Any, weight: Any) -> Any:
    """``one`` laid out as ``weight``, where it is as large as this process's part of it."""
    if not isinstance(weight, DTensor) or not isinstance(one, torch.Tensor) or one.dim() == 0:
        return one
    part = torch.zeros_like(weight, dtype=one.dtype, requires_grad=False)
    if one.shape != part.to_local().shape:
        return one
    with torch.no_grad():
        part.to_local().copy_(one)
    return part
