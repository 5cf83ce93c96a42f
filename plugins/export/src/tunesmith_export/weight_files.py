"""Weights in safetensors files, read and written one at a time, so that no more than one of them is ever held.

The format is https://huggingface.co/docs/safetensors: eight bytes with the length of a JSON header, the header with the place
of each tensor, then the tensors one after the other. The library itself can only write tensors that are all in memory.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from tunesmith.model_folder import read_json

GB = 10**9
SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
#: torch's formats by the format's own names.
FORMATS = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
NAMES = {dtype: name for name, dtype in FORMATS.items()}


@dataclass(frozen=True)
class Weight:
    """A weight that is or will be in a file."""

    name: str
    shape: tuple[int, ...]
    dtype: torch.dtype

    @property
    def size(self) -> int:
        """Bytes."""
        return prod(self.shape) * self.dtype.itemsize


class WeightFiles:
    """The weights of the model in ``folder``; ``weights`` lists them in the order in which they lie in its files."""

    def __init__(self, folder: Path) -> None:
        self._files: dict[str, Path] = {}
        self.weights: list[Weight] = []
        for file in weight_files(folder):
            for name, entry in _header(file):
                self._files[name] = file
                self.weights.append(Weight(name, tuple(entry["shape"]), FORMATS[entry["dtype"]]))

    def __contains__(self, name: str) -> bool:
        return name in self._files

    def read(self, name: str) -> torch.Tensor:
        """One weight, mapped from its file until it is let go."""
        with safe_open(self._files[name], "pt") as held:
            tensor: torch.Tensor = held.get_tensor(name)
        return tensor


def weight_files(folder: Path) -> list[Path]:
    """The files with the model's weights; none where they lie in another format."""
    if (folder / INDEX).is_file():
        return [folder / name for name in sorted(set(read_json(folder, INDEX)["weight_map"].values()))]
    return [folder / SINGLE] if (folder / SINGLE).is_file() else []


def _header(file: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    with file.open("rb") as held:
        header = json.loads(held.read(int.from_bytes(held.read(8), "little")))
    entries = ((name, entry) for name, entry in header.items() if name != "__metadata__")
    return iter(sorted(entries, key=lambda pair: pair[1]["data_offsets"]))


def write(weights: Iterable[Weight], value: Callable[[str], torch.Tensor], folder: Path, *, most: int) -> None:
    """Write a model's files, each tensor asked for by its name when it is its turn.

    :param most: bytes of tensors in one file; a larger tensor has one to itself.
    """
    shards = _cut(weights, most)
    names = (
        [SINGLE] if len(shards) == 1 else [f"model-{n:05}-of-{len(shards):05}.safetensors" for n in range(1, len(shards) + 1)]
    )
    for name, shard in zip(names, shards, strict=True):
        _write_one(folder / name, shard, value)
    if len(shards) > 1:
        listed = {weight.name: name for name, shard in zip(names, shards, strict=True) for weight in shard}
        total = sum(weight.size for shard in shards for weight in shard)
        index = {"metadata": {"total_size": total}, "weight_map": listed}
        (folder / INDEX).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")


def _cut(weights: Iterable[Weight], most: int) -> list[list[Weight]]:
    shards: list[list[Weight]] = [[]]
    size = 0
    for weight in weights:
        if shards[-1] and size + weight.size > most:
            shards.append([])
            size = 0
        shards[-1].append(weight)
        size += weight.size
    return shards


def _write_one(file: Path, shard: Sequence[Weight], value: Callable[[str], torch.Tensor]) -> None:
    # Those of the widest format first, so that each lies at a multiple of its width.
    shard = sorted(shard, key=lambda weight: -weight.dtype.itemsize)
    header: dict[str, Mapping[str, Any]] = {"__metadata__": {"format": "pt"}}
    place = 0
    for weight in shard:
        offsets = (place, place + weight.size)
        header[weight.name] = {"dtype": NAMES[weight.dtype], "shape": weight.shape, "data_offsets": offsets}
        place += weight.size
    encoded = json.dumps(header).encode()
    encoded += b" " * (-len(encoded) % 8)
    with file.open("wb") as held:
        held.write(len(encoded).to_bytes(8, "little") + encoded)
        for weight in shard:
            tensor = value(weight.name)
            if (tuple(tensor.shape), tensor.dtype) != (weight.shape, weight.dtype):
                raise ValueError(f"{weight.name} came as {tuple(tensor.shape)} {tensor.dtype} where {weight} was announced")
            held.write(tensor.contiguous().cpu().reshape(-1).view(torch.uint8).numpy().data)
