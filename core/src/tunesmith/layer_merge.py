"""One piece of a merge that never holds the whole model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from tunesmith.specs import TunerSpec


@dataclass(frozen=True)
class LayerMerge:
    """What an adapter does to one layer.

    :param weights: the plain weights that it reads and changes, by their names in the base model.
    :param merge: those weights → what they are with the adapter folded in, of the same names, shapes and formats.
    """

    weights: tuple[str, ...]
    merge: Callable[[Mapping[str, torch.Tensor]], Mapping[str, torch.Tensor]]


def whole_model_needed(spec: TunerSpec, folder: Path) -> str:
    """Why the adapter in ``folder``, which a tuner wrote, cannot be merged layer by layer; empty where it can."""
    if not spec.mergeable:
        return f"{spec.name} adapters cannot be merged"
    if not spec.by_layer:
        return f"{spec.name} adapters are merged into the whole model at once"
    module, _, function = spec.by_layer.partition(":")
    return str(getattr(import_module(module), function)(folder))
