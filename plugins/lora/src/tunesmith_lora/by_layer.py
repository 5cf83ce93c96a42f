"""Folding an adapter of peft in layer by layer, on a model whose own weights are not in memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils.other import AuxiliaryTrainingWrapper
from tunesmith import TunesmithError
from tunesmith.layer_merge import LayerMerge


def pieces(model: Any) -> Iterator[LayerMerge]:
    """One piece for each layer that peft has wrapped in ``model``, a ``PeftModel`` over a hollow model."""
    wrapped: list[str] = []
    inner = model.base_model.model
    for name, module in inner.named_modules():
        if any(name.startswith(f"{outer}.") for outer in wrapped):
            continue
        tuned = isinstance(module, BaseTunerLayer) and hasattr(module, "base_layer")
        if tuned or isinstance(module, AuxiliaryTrainingWrapper):
            wrapped.append(name)
            yield _piece(name, module)


def _piece(name: str, wrapper: Any) -> LayerMerge:
    base = _innermost(wrapper)
    hollow = {own: weight.data for own, weight in base.named_parameters()}

    def merge(held: Mapping[str, torch.Tensor]) -> Mapping[str, torch.Tensor]:
        for own, weight in base.named_parameters():
            weight.data = held[f"{name}.{own}"]
        try:
            merged = _unwrapped(wrapper)
            found = {f"{name}.{own}": weight.data for own, weight in merged.named_parameters() if own in hollow}
            return {full: weight.to(held[full].dtype) for full, weight in found.items()}
        except ValueError as error:
            hint = "It was trained to values that are no numbers."
            raise TunesmithError(f"The adapter cannot be merged into {name}: {error}", hint) from error
        finally:
            for own, weight in base.named_parameters():
                weight.data = hollow[own]

    return LayerMerge(tuple(f"{name}.{own}" for own in hollow), merge)


def _innermost(wrapper: Any) -> Any:
    """The layer of the base model below one or more wrappers."""
    while (below := getattr(wrapper, "original_module", None) or getattr(wrapper, "base_layer", None)) is not None:
        wrapper = below
    return wrapper


def _unwrapped(wrapper: Any) -> Any:
    """The layer with what was learned folded in, in the way that peft itself goes when it merges a whole model."""
    if hasattr(wrapper, "unload_and_optionally_merge_module"):
        return wrapper.unload_and_optionally_merge_module(merge=True, safe_merge=True, adapter_names=None)
    wrapper.merge(safe_merge=True)
    return wrapper.get_base_layer()
