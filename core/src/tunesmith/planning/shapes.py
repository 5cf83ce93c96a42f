"""The shapes of a model's weights, without torch: from safetensors headers, else by arithmetic on ``config.json``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from tunesmith.errors import TunesmithError
from tunesmith.model_folder import quantization_of, read_json

Shape = tuple[int, ...]
#: Matrices that quantizers leave as they are: tables of tokens and places, and output heads.
TABLES = ("embed_tokens", "wte", "wpe", "word_embeddings", "lm_head", "embed_out", "output", "score", "classifier")
BYTES = {"F64": 8, "F32": 4, "I32": 4, "F16": 2, "BF16": 2, "I16": 2, "I8": 1, "U8": 1, "F8_E4M3": 1, "F8_E5M2": 1, "I64": 8}


@dataclass(frozen=True)
class ModelShape:
    """``weights``: shape by name. ``sizes``: the numbers of ``config.json`` that memory depends on."""

    weights: Mapping[str, Shape]
    layers: int
    hidden: int
    intermediate: int
    vocabulary: int
    bytes_per_weight: float
    basis: str

    @property
    def parameters(self) -> int:
        """How many numbers the weights hold."""
        return sum(prod(shape) for shape in self.weights.values())

    @property
    def in_layers(self) -> int:
        """How many of them belong to linear layers, which quantizers pack.

        The experts of a mixture do not, also where they are one matrix each on disk: in memory they are fused.
        """
        return sum(prod(shape) for name, shape in self.weights.items() if len(shape) == 2 and _is_in_layer(name))

    @property
    def in_experts(self) -> int:
        """How many of them belong to the experts of a mixture."""
        return sum(prod(shape) for name, shape in self.weights.items() if ".experts." in name)


def _is_in_layer(name: str) -> bool:
    return ".experts." not in name and name.removesuffix(".weight").rpartition(".")[2] not in TABLES


def read_shape(folder: Path) -> ModelShape | None:
    """The shape of the model in ``folder``; ``None`` when neither its weights nor its configuration tell.

    :raises TunesmithError: a weight file is damaged.
    """
    config = read_json(folder, "config.json")
    config = {**config, **config.get("text_config", {})}
    headers = _read_headers(folder)
    if headers:
        weights = {name: tuple(entry["shape"]) for name, entry in headers.items()}
        size = sum(prod(entry["shape"]) * BYTES.get(entry["dtype"], 2) for entry in headers.values())
        if quantization_of(config) and "hidden_size" in config:  # packed tensors have other shapes than what they hold
            weights = _arithmetic(config)
        return _shape(config, weights, size / max(1, sum(map(prod, weights.values()))), "weight files")
    if "hidden_size" in config and "num_hidden_layers" in config:
        return _shape(config, _arithmetic(config), 2.0, "config.json")
    return None


def _shape(config: Mapping[str, Any], weights: Mapping[str, Shape], size: float, basis: str) -> ModelShape:
    hidden = int(config.get("hidden_size", 0))
    return ModelShape(
        weights,
        layers=int(config.get("num_hidden_layers", 0)),
        hidden=hidden,
        intermediate=int(config.get("intermediate_size") or 4 * hidden),
        vocabulary=int(config.get("vocab_size", 0)),
        bytes_per_weight=size,
        basis=basis,
    )


def _read_headers(folder: Path) -> dict[str, dict[str, Any]]:
    headers: dict[str, dict[str, Any]] = {}
    for file in sorted(folder.glob("*.safetensors")):
        if not file.name.startswith("adapter_"):
            headers.update(read_header(file))
    return headers


def read_header(file: Path) -> dict[str, dict[str, Any]]:
    """Name → dtype and shape of every tensor in a safetensors file (8 bytes of length, then JSON).

    :raises TunesmithError: the file is cut short or no safetensors file.
    """
    size = file.stat().st_size
    try:
        with file.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            if not 0 < length <= size - 8:
                raise ValueError("it is empty, or ends within its header")
            header = json.loads(stream.read(length))
        header.pop("__metadata__", None)
        end = 8 + length + max((entry["data_offsets"][1] for entry in header.values()), default=0)
        if end != size:
            raise ValueError(f"it has {size:,} bytes instead of {end:,}")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise TunesmithError(f"{file} is damaged: {error}.", "Copy or download the file again.") from error
    return dict(header)


def check_weight_files(folder: Path) -> None:
    """Make sure that every safetensors file of a folder is whole, by header and size; its content is too much to read.

    :raises TunesmithError: names the first that is not.
    """
    for file in sorted(folder.glob("*.safetensors")):
        read_header(file)


def _arithmetic(config: Mapping[str, Any]) -> dict[str, Shape]:
    """The weights of a decoder with the usual parts, from the numbers of its configuration."""
    hidden, vocabulary = int(config["hidden_size"]), int(config.get("vocab_size", 0))
    weights: dict[str, Shape] = {"model.embed_tokens.weight": (vocabulary, hidden), "model.norm.weight": (hidden,)}
    for layer in range(int(config["num_hidden_layers"])):
        for name, shape in (_attention(config, hidden) | _feed_forward(config, hidden, layer)).items():
            weights[f"model.layers.{layer}.{name}.weight"] = shape
    if not config.get("tie_word_embeddings", False):
        weights["lm_head.weight"] = (vocabulary, hidden)
    return weights


def _attention(config: Mapping[str, Any], hidden: int) -> dict[str, Shape]:
    heads = int(config.get("num_attention_heads", 1))
    size = int(config.get("head_dim") or hidden // heads)
    keys = int(config.get("num_key_value_heads") or heads)
    return {
        "self_attn.q_proj": (heads * size, hidden),
        "self_attn.k_proj": (keys * size, hidden),
        "self_attn.v_proj": (keys * size, hidden),
        "self_attn.o_proj": (hidden, heads * size),
        "input_layernorm": (hidden,),
        "post_attention_layernorm": (hidden,),
    }


def _feed_forward(config: Mapping[str, Any], hidden: int, layer: int) -> dict[str, Shape]:
    experts = int(config.get("num_experts") or config.get("n_routed_experts") or config.get("num_local_experts") or 0)
    wide = int(config.get("intermediate_size") or 4 * hidden)
    if not experts or layer < int(config.get("first_k_dense_replace", 0)):
        return {"mlp.gate_proj": (wide, hidden), "mlp.up_proj": (wide, hidden), "mlp.down_proj": (hidden, wide)}
    narrow = int(config.get("moe_intermediate_size") or wide)
    shared = int(config.get("n_shared_experts") or 0)
    return {
        "mlp.gate": (experts, hidden),
        "mlp.experts.gate_up_proj": (experts + shared, 2 * narrow, hidden),
        "mlp.experts.down_proj": (experts + shared, hidden, narrow),
    }
