"""How much of a model will learn, for the plan's estimate. No torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from math import prod
from typing import Any

from tunesmith_lora.options import LoraOptions
from tunesmith_lora.patterns import ALL, names, picks

#: Matrices that are no linear layer inside the model: tables, output heads and routers.
NO_LAYER = ("embed_tokens", "wte", "wpe", "word_embeddings", "lm_head", "output", "score", "classifier", "mlp.gate")


def count_learning(shapes: Mapping[str, tuple[int, ...]], value: Callable[[str], Any]) -> int:
    """How many numbers a low-rank update of these weights has.

    :param shapes: the shape of every weight by its name on disk.
    :param value: flat key → its value.
    """
    options = LoraOptions(**{item.name: value(item.name) for item in fields(LoraOptions)})
    return sum(_learning(name, shape, options) for name, shape in shapes.items())


def _learning(name: str, shape: tuple[int, ...], options: LoraOptions) -> int:
    module = name.removesuffix(".weight")
    if options.additional_target and names(module, options.additional_target):
        return prod(shape)
    experts = _is_expert(name, shape)
    if len(shape) < 2 or not (_expert_learns(name, options) if experts else layer_learns(module, options.lora_target)):
        return 0
    matrices = prod(shape[:-2])
    return matrices * (options.lora_rank * (shape[-1] + shape[-2]) + (shape[-2] if options.use_dora else 0))


def _is_expert(name: str, shape: tuple[int, ...]) -> bool:
    """On disk experts are one matrix each or all of a layer in one; in memory they are always fused."""
    return len(shape) == 3 or ".experts." in name


def _expert_learns(name: str, options: LoraOptions) -> bool:
    wanted = options.lora_target_parameters or ()
    return ALL in wanted or names(name, wanted)


def layer_learns(module: str, target: Sequence[str]) -> bool:
    """Whether ``target`` means the matrix of the layer ``module``."""
    return not names(module, NO_LAYER) if ALL in target else picks(module, target)
