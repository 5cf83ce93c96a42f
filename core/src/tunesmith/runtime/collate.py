"""Rows of tokens → one batch of tensors, padded or packed, with only what was meant to be learned as labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from tunesmith.contracts import MediaReader
from tunesmith.data.conversation import Tokens
from tunesmith.data.store import TokenStore

IGNORED = -100
#: Under this name batches that are read more than once hold what a model is given beside text, by its own names.
SEEN = "seen"
#: Sizes that matrix units like.
MULTIPLE = 8


class Rows(Dataset[Mapping[str, Any]]):
    """A token store as torch's loaders read it: each example with ``starts``, the indices at which its documents begin."""

    def __init__(self, store: TokenStore) -> None:
        self.store = store

    def __len__(self) -> int:
        return len(self.store)

    def __getitem__(self, index: int) -> Mapping[str, Any]:
        row = self.store[index]
        if not self.store.packed:
            return row
        return {**row, "starts": np.cumsum([0, *self.store.boundaries(index)[:-1]])}


@dataclass(frozen=True)
class Collator:
    """Makes batches of :class:`Rows` that hold one sequence each.

    Unpacked batches: ``input_ids``, ``attention_mask`` and ``labels``, each (rows, length). Packed ones hold ``position_ids``
    that start again at 0 with every document, ``use_cache=False`` and no mask: transformers derives from exactly this that no
    document sees another, while a mask of ones would let them. ``loss_weights`` (float32) is there only where a weight is
    neither 0 nor 1. The first token of a document is never learned: nothing of its own comes before it.

    :param pad: the id to pad with.
    :param packed: rows hold several documents.
    :param joined: packs become one long row, for attention that isolates documents within one row only.
    :param multiple: pad to a multiple of this length.
    :param side: where padding goes in unpacked batches.
    :param media: the reader of what rows hold beside text, for models that have one.
    :param evenly: the weights of every document add up to 1, so that each counts the same whatever its length.
    """

    pad: int
    packed: bool = False
    joined: bool = False
    multiple: int = MULTIPLE
    side: str = "right"
    sequence: str = "tokens"
    evenly: bool = False
    media: MediaReader | None = None

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """One batch."""
        rows = [_join(rows, self.sequence)] if self.joined else rows
        tokens: list[Tokens] = [row[self.sequence] for row in rows]
        length = -(-max(len(one.ids) for one in tokens) // self.multiple) * self.multiple
        ids = self._table([one.ids for one in tokens], length, self.pad, np.int64)
        weights = self._table([_weights(row, self.sequence, evenly=self.evenly) for row in rows], length, 0.0, np.float32)
        batch: dict[str, Any] = {
            "input_ids": torch.from_numpy(ids),
            "labels": torch.from_numpy(np.where(weights != 0, ids, IGNORED)),
        }
        if self.packed:
            places = self._table([positions(len(row[self.sequence].ids), row["starts"]) for row in rows], length, -1, np.int64)
            batch["position_ids"] = torch.from_numpy(_number_padding(places))
            batch["use_cache"] = False
        else:
            here = self._table([np.ones(len(one.ids)) for one in tokens], length, 0, np.int64)
            batch["attention_mask"] = torch.from_numpy(here)
        if np.any((weights != 0) & (weights != 1)):
            batch["loss_weights"] = torch.from_numpy(weights)
        if self.media is not None:
            batch |= self.media.inputs(batch["input_ids"], [one for row in tokens for one in row.media])
        return batch

    def _table(self, rows: Sequence[Any], length: int, fill: float, kind: type) -> NDArray[Any]:
        table: NDArray[Any] = np.empty((len(rows), length), dtype=kind)
        table.fill(fill)
        for line, row in zip(table, rows, strict=True):
            if self.side == "right" or self.packed:
                line[: len(row)] = row
            else:
                line[length - len(row) :] = row
        return table


def _join(rows: Sequence[Mapping[str, Any]], sequence: str) -> dict[str, Any]:
    tokens: list[Tokens] = [row[sequence] for row in rows]
    begins = np.cumsum([0, *(len(one.ids) for one in tokens)])
    starts = np.concatenate([np.asarray(row["starts"]) + begin for row, begin in zip(rows, begins, strict=False)])
    ids, weights = (np.concatenate([getattr(one, name) for one in tokens]) for name in ("ids", "weights"))
    return {sequence: Tokens(ids, weights), "starts": starts}


def _weights(row: Mapping[str, Any], sequence: str, *, evenly: bool) -> NDArray[np.float32]:
    weights = np.array(row[sequence].weights, dtype=np.float32)
    starts = np.asarray(row.get("starts", (0,)), dtype=np.int64)
    weights[starts] = 0.0
    if evenly:
        sums = np.add.reduceat(weights, starts)
        weights /= np.repeat(np.where(sums > 0, sums, 1), np.diff([*starts, len(weights)]))
    return weights


def positions(length: int, starts: Sequence[int]) -> NDArray[np.int64]:
    """The place of each of ``length`` tokens within its document; ``starts`` are the indices at which documents begin."""
    count = np.arange(length, dtype=np.int64)
    return count - np.repeat(np.asarray(starts, dtype=np.int64), np.diff([*starts, length]))


def _number_padding(places: NDArray[np.int64]) -> NDArray[np.int64]:
    """Padding (-1) becomes a document of its own, so that it neither sees the last one nor joins it."""
    padding = places < 0
    return np.where(padding, np.cumsum(padding, axis=1) - 1, places)


def learned(batch: Mapping[str, Any]) -> torch.Tensor:
    """How much a batch has to learn: the sum of its tokens' weights."""
    if "loss_weights" in batch:
        total: torch.Tensor = batch["loss_weights"].sum()
        return total
    return batch["labels"].ne(IGNORED).sum()
