"""Keys and values of a running batch, so that rows can join and leave it.

All rows end at the same column; shorter ones have padding before them, which the attention mask hides.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

SPARE = 64
"""Columns that are made at once when a layer is full."""


class GrowingLayer(DynamicLayer):
    """A layer that writes new columns into spare room, where :class:`DynamicLayer` copies everything for each token."""

    _held: tuple[torch.Tensor, torch.Tensor] | None = None

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Add columns and return all: (rows, heads, columns, width) each."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        used = self.get_seq_length()
        end = used + key_states.shape[-2]
        if self._held is None or end > self._held[0].shape[-2]:
            shown = (self.keys, self.values) if used else None
            self._held = (_widened(shown and shown[0], key_states, used), _widened(shown and shown[1], value_states, used))
        for held, new in zip(self._held, (key_states, value_states), strict=True):
            held[:, :, used:end] = new
        self.keys, self.values = (held[:, :, :end] for held in self._held)
        return self.keys, self.values

    def replace(self, keys: torch.Tensor, values: torch.Tensor) -> None:
        """Hold these instead."""
        self.keys, self.values, self._held = keys, values, None


def _widened(old: torch.Tensor | None, new: torch.Tensor, used: int) -> torch.Tensor:
    made = new.new_empty((*new.shape[:2], used + new.shape[2] + SPARE, new.shape[3]))
    if old is not None:
        made[:, :, :used] = old
    return made


def new_cache(config: Any) -> DynamicCache:
    """An empty cache for a model with this configuration."""
    cache = DynamicCache(config=config)
    cache.layers = [GrowingLayer() if type(layer) is DynamicLayer else layer for layer in cache.layers]
    return cache


def can_join(config: Any) -> bool:
    """Whether every layer of a model remembers in a way that rows can join and leave."""
    return all(type(layer) in (GrowingLayer, DynamicSlidingWindowLayer) for layer in new_cache(config).layers)


def keep_rows(cache: DynamicCache, rows: torch.Tensor, cut: int) -> None:
    """Keep only ``rows``, without their first ``cut`` columns."""
    for layer in _filled(cache):
        length = layer.get_seq_length() - cut
        held = layer.keys.shape[-2]
        first = held - min(held, length)
        _replace(layer, layer.keys[rows, :, first:], layer.values[rows, :, first:], length)


def join_rows(caches: Sequence[DynamicCache]) -> DynamicCache:
    """The rows of all of them in the first, shorter ones with padding before them."""
    first = caches[0]
    for layers in zip(*(cache.layers for cache in caches), strict=True):
        if layers[0].is_initialized:
            length = max(layer.get_seq_length() for layer in layers)
            _replace(layers[0], _stack([layer.keys for layer in layers]), _stack([layer.values for layer in layers]), length)
    return first


def size_of(cache: DynamicCache) -> int:
    """Bytes of its keys and values."""
    return sum(part.numel() * part.element_size() for layer in _filled(cache) for part in (layer.keys, layer.values))


def _filled(cache: DynamicCache) -> list[Any]:
    """Layers that hold anything: some models let several layers share one."""
    return [layer for layer in cache.layers if layer.is_initialized]


def _replace(layer: Any, keys: torch.Tensor, values: torch.Tensor, length: int) -> None:
    if isinstance(layer, GrowingLayer):
        layer.replace(keys, values)
    else:
        layer.keys, layer.values, layer.cumulative_length = keys, values, length


def _stack(parts: Sequence[torch.Tensor]) -> torch.Tensor:
    """(rows, heads, columns, width) of each under one another, ending at the same column."""
    columns, like = max(part.shape[2] for part in parts), parts[0]
    made = like.new_zeros((sum(len(part) for part in parts), like.shape[1], columns, like.shape[3]))
    at = 0
    for part in parts:
        made[at : at + len(part), :, columns - part.shape[2] :] = part
        at += len(part)
    return made
