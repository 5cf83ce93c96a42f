"""State dictionaries as safetensors and JSON: what ``torch.save`` would have pickled.

A tree is made of ``dict`` (keys of any plain type), ``list``, ``tuple``, tensors, numpy arrays and numbers, ``torch.dtype``,
``str``, ``int``, ``float`` (also infinite), ``bool`` and ``None``. Tensors go into ``NAME.safetensors``, the rest into
``NAME.json``.
"""

from __future__ import annotations

import json
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file

PLAIN = (str, int, float, bool, type(None))


def save_tree(stem: Path, tree: Any) -> None:
    """Write ``tree`` as ``stem.json`` and, where it holds tensors, ``stem.safetensors``.

    :raises TypeError: something in it cannot be written without pickle; the message names its place.
    """
    tensors: dict[str, torch.Tensor] = {}
    plain = _pack(tree, tensors, stem.name)
    if tensors:
        save_file(tensors, str(stem.with_name(stem.name + ".safetensors")))
    stem.with_name(stem.name + ".json").write_text(json.dumps(plain), encoding="utf-8")


def load_tree(stem: Path) -> Any:
    """Read what :func:`save_tree` wrote; tensors come back on the CPU, bit for bit."""
    file = stem.with_name(stem.name + ".safetensors")
    tensors = load_file(str(file)) if file.is_file() else {}
    return _unpack(json.loads(stem.with_name(stem.name + ".json").read_text(encoding="utf-8")), tensors)


def is_saved(stem: Path) -> bool:
    """Whether a tree was saved under this name."""
    return stem.with_name(stem.name + ".json").is_file()


def _pack(value: Any, tensors: dict[str, torch.Tensor], place: str) -> Any:
    if isinstance(value, Enum):
        value = value.value
    if isinstance(value, PLAIN):
        return value
    if isinstance(value, torch.Tensor):
        return _pack_tensor(value, tensors, "tensor")
    if isinstance(value, np.ndarray):
        return _pack_tensor(torch.from_numpy(np.ascontiguousarray(value)), tensors, "array")
    if isinstance(value, np.generic):
        return _pack(value.item(), tensors, place)
    if isinstance(value, torch.dtype):
        return {"dtype": str(value).removeprefix("torch.")}
    if isinstance(value, dict):
        pairs = [[_pack(k, tensors, place), _pack(v, tensors, f"{place}.{k}")] for k, v in value.items()]
        return {"dict": pairs}
    if isinstance(value, (list, tuple)):
        items = [_pack(item, tensors, f"{place}[{i}]") for i, item in enumerate(value)]
        return {"tuple" if isinstance(value, tuple) else "list": items}
    raise TypeError(f"{place} is a {type(value).__qualname__}, which cannot be saved without pickle")


def _pack_tensor(value: torch.Tensor, tensors: dict[str, torch.Tensor], kind: str) -> dict[str, str]:
    name = str(len(tensors))
    # A copy of its own: safetensors refuses tensors that share memory, and optimizers may hold views.
    tensors[name] = value.detach().to("cpu", copy=True).contiguous()
    return {kind: name}


def _unpack(plain: Any, tensors: dict[str, torch.Tensor]) -> Any:
    if not isinstance(plain, dict):
        return plain
    ((kind, held),) = plain.items()
    match kind:
        case "tensor":
            return tensors[held]
        case "array":
            return tensors[held].numpy()
        case "dtype":
            return getattr(torch, held)
        case "dict":
            return {_unpack(key, tensors): _unpack(value, tensors) for key, value in held}
        case "list":
            return [_unpack(item, tensors) for item in held]
        case "tuple":
            return tuple(_unpack(item, tensors) for item in held)
    raise ValueError(f"this is no saved tree: {kind!r}")
