"""A model's weights on their way into a GGUF file: renamed, turned, rounded, one at a time."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from gguf import GGMLQuantizationType
from safetensors import safe_open
from tunesmith import TunesmithError
from tunesmith.model_heads import VALUE_HEAD

from tunesmith_gguf.kinds import TYPES, Kind, stretch_of

FLOAT, HALF = GGMLQuantizationType.F32, GGMLQuantizationType.F16


@dataclass(frozen=True)
class Entry:
    """One tensor of the file to be. ``source``: its name in safetensors; empty for one that is computed."""

    name: str
    source: str
    file: Path
    shape: tuple[int, ...]
    kind: GGMLQuantizationType


class Tensors:
    """The tensors of the model in ``folder``, of a known kind, as a file of the format ``type`` has them."""

    def __init__(self, folder: Path, config: Any, kind: Kind, wanted: str) -> None:
        self.wanted, self._config, self._kind = wanted, config, kind
        self._matrices = GGMLQuantizationType[wanted.upper()]
        self.arch = gguf.MODEL_ARCH[kind.arch]
        self._names = gguf.get_tensor_name_map(self.arch, config.num_hidden_layers)
        self.entries = list(self._listed(folder))

    def _listed(self, folder: Path) -> Iterator[Entry]:
        for file in sorted(one for one in folder.glob("*.safetensors") if one.name != VALUE_HEAD):
            with safe_open(file, "pt") as held:
                for source in held.keys():  # noqa: SIM118  # it is no mapping
                    name = self._names.get_name(source, try_suffixes=(".weight", ".bias"))
                    if name is None:
                        raise TunesmithError(f"GGUF has no place for the weight {source}.", "Is it a model of this kind alone?")
                    shape = tuple(held.get_slice(source).get_shape())
                    yield Entry(name, source, file, shape, self._type(shape))
        if (factors := self._stretch()) is not None:
            yield Entry("rope_freqs.weight", "", folder, factors.shape, FLOAT)

    def _type(self, shape: Sequence[int]) -> GGMLQuantizationType:
        """Vectors stay in float32, and rows that cannot be cut into blocks in float16, as llama.cpp has it."""
        if len(shape) < 2:
            return FLOAT
        block, _ = gguf.GGML_QUANT_SIZES[self._matrices]
        return self._matrices if shape[-1] % block == 0 else HALF

    def plain(self, entry: Entry) -> np.ndarray:
        """The tensor in float32, before it is rounded."""
        if not entry.source:
            factors = self._stretch()
            assert factors is not None
            return factors
        with safe_open(entry.file, "pt") as held:
            found = held.get_tensor(entry.source).to(torch.float32).numpy()
        if self._kind.turned and entry.source.split(".")[-2] in ("q_proj", "k_proj"):
            keys = self._config.num_key_value_heads if "k_proj" in entry.source else self._config.num_attention_heads
            return _turned(found, keys)
        return found + 1 if self._kind.shifted_norms and entry.source.endswith("norm.weight") else found

    def rounded(self, entry: Entry) -> np.ndarray:
        """The tensor as the file holds it.

        :raises TunesmithError: a number does not fit into the format.
        """
        with np.errstate(over="ignore"):
            found: np.ndarray = gguf.quantize(np.ascontiguousarray(self.plain(entry)), entry.kind)
        if entry.kind is HALF and not np.isfinite(found).all():
            raise TunesmithError(f"{entry.source} has numbers that float16 cannot hold.", "Write gguf_type: bf16.")
        return found

    def off(self, entry: Entry, held: np.ndarray) -> float:
        """How far what a file holds is from the model's tensor, as a share of its size."""
        plain = self.plain(entry)
        back = gguf.dequantize(held, entry.kind).reshape(plain.shape)
        return float(np.linalg.norm(back - plain) / (np.linalg.norm(plain) or 1.0))

    def most_off(self, entry: Entry) -> float:
        """How far it may be."""
        return TYPES[entry.kind.name.lower()]

    def _stretch(self) -> np.ndarray | None:
        """What divides each frequency in Llama 3's way of stretching (transformers' ``_compute_llama3_parameters``)."""
        found: Mapping[str, Any] = stretch_of(self._config.to_dict())
        if found["rope_type"] != "llama3":
            return None
        size = getattr(self._config, "head_dim", None) or self._config.hidden_size // self._config.num_attention_heads
        old, factor = found["original_max_position_embeddings"], found["factor"]
        low, high = found["low_freq_factor"], found["high_freq_factor"]
        lengths = 2 * math.pi * found["rope_theta"] ** (np.arange(0, size, 2) / size)
        smooth = np.clip((old / lengths - low) / (high - low), 0, 1)
        return (1 / ((1 - smooth) / factor + smooth)).astype(np.float32)


def _turned(weight: np.ndarray, heads: int) -> np.ndarray:
    halves = weight.reshape(heads, 2, weight.shape[0] // heads // 2, *weight.shape[1:])
    return halves.swapaxes(1, 2).reshape(weight.shape)
