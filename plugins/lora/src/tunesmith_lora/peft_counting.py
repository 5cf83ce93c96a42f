"""How much of a model an adapter of peft's makes learn, for the plan's estimate. No torch.

Exact for the kinds in :data:`PER_LAYER`; for the others the size of a low-rank update of their rank, or of two vectors where
they have none, which is the right order of magnitude beside the weights themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import prod
from typing import Any

from tunesmith_lora.counting import layer_learns
from tunesmith_lora.patterns import ALL, names
from tunesmith_lora.peft_kinds import PeftKind, kind_of

#: Kind → numbers that learn beside one weight, from its rows, its columns and the values of the options by field.
PER_LAYER: Mapping[str, Callable[[int, int, Mapping[str, Any]], int]] = {
    "adalora": lambda rows, columns, value: value["init_r"] * (rows + columns + 1),
    "delora": lambda rows, columns, value: value["r"] * (rows + columns) + 1,
    "fourierft": lambda rows, columns, value: value["n_frequency"],
    "hira": lambda rows, columns, value: value["r"] * (rows + columns),
    "hra": lambda rows, columns, value: value["r"] * columns,
    "loha": lambda rows, columns, value: 2 * value["r"] * (rows + columns),
    "miss": lambda rows, columns, value: value["r"] * rows,
    "oft": lambda rows, columns, value: _turns(columns, value),
    "shira": lambda rows, columns, value: value["r"] * (rows + columns),
    "vera": lambda rows, columns, value: value["r"] + rows,
    "waveft": lambda rows, columns, value: value["n_frequency"],
}


def count_learning(shapes: Mapping[str, tuple[int, ...]], value: Callable[[str], Any]) -> int:
    """How many numbers the adapter that ``finetuning_type`` names has on these weights.

    :param shapes: the shape of every weight by its name on disk.
    :param value: flat key → its value.
    """
    tuner = str(value("finetuning_type")).partition("@")[0]
    kind = kind_of(tuner)
    assert kind is not None, f"{tuner} is none of peft's kinds"
    options = {field: value(key) for key, field in kind.fields.items()}
    saved = value("additional_target") or ()
    return sum(_learning(kind, module, shape, options, saved, value) for module, shape in shapes.items())


def _learning(
    kind: PeftKind,
    weight: str,
    shape: tuple[int, ...],
    options: Mapping[str, Any],
    saved: tuple[str, ...],
    value: Callable[[str], Any],
) -> int:
    module = weight.removesuffix(".weight")
    if saved and names(module, saved):
        return prod(shape)
    if not kind.target:
        tokens = len(options.get("token_indices") or ())
        return tokens * shape[-1] if names(module, ("embed_tokens", "wte", "word_embeddings")) else 0
    target = value(kind.target)
    if kind.target.startswith("ln_"):
        return prod(shape) if "norm" in module and (ALL in target or names(module, target)) else 0
    if len(shape) != 2 or ".experts." in weight or not layer_learns(module, target):
        return 0
    return PER_LAYER.get(kind.name, _usual)(*shape, options)


def _usual(rows: int, columns: int, options: Mapping[str, Any]) -> int:
    return int(options.get("r") or 1) * (rows + columns)


def _turns(columns: int, options: Mapping[str, Any]) -> int:
    """A turn of ``n`` dimensions is given by ``n (n − 1) / 2`` numbers."""
    blocks = options["r"] or columns // options["oft_block_size"]
    size = columns // blocks
    return (1 if options["block_share"] else blocks) * size * (size - 1) // 2
