"""Answers that were liked or not, each with another row's answer to the same prompt for KTO's reference point."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset
from tunesmith.contracts import MediaReader
from tunesmith.data.conversation import Tokens
from tunesmith.runtime.collate import SEEN, Collator

#: Rows that are looked at for an answer to another prompt.
NEIGHBOURS = 64


class FeedbackRows(Dataset[Mapping[str, Any]]):
    """Rows of feedback: ``tokens``, ``desirable``, and ``other``, the same prompt with the answer of another row.

    The other row is the next one whose prompt is a different one. It depends on the data alone: not on batches, shuffling or
    processes.

    :param limit: tokens that ``other`` may have; the answer loses its end.
    """

    def __init__(self, store: Any, limit: int) -> None:
        self.store, self.limit = store, limit

    def __len__(self) -> int:
        return len(self.store)

    def __getitem__(self, index: int) -> Mapping[str, Any]:
        tokens = self.store[index]["tokens"]
        return {"tokens": tokens, "other": self._other(index, tokens), "desirable": bool(self.store.facts(index)["desirable"])}

    def _other(self, index: int, tokens: Tokens) -> Tokens:
        start = answer_start(tokens)
        count = len(self.store)
        prompt = np.asarray(tokens.ids[:start])
        for step in range(1, min(count, NEIGHBOURS + 1)):
            found = self.store[(index + step) % count]["tokens"]
            at = answer_start(found)
            if found.media != tokens.media or not np.array_equal(np.asarray(found.ids[:at]), prompt):
                break
        else:
            found = self.store[(index + 1) % count]["tokens"]
            at = answer_start(found)
        ids = np.concatenate([prompt, np.asarray(found.ids[at:])])
        weights = np.concatenate([np.zeros(start, np.float32), np.asarray(found.weights[at:], np.float32)])
        return Tokens(ids[: self.limit], weights[: self.limit], tokens.media)


def answer_start(tokens: Tokens) -> int:
    """The index of the first token that is learned."""
    found = np.flatnonzero(np.asarray(tokens.weights))
    return int(found[0]) if len(found) else len(tokens.ids)


@dataclass(frozen=True)
class FeedbackCollator:
    """Makes batches of feedback: ``input_ids``, ``attention_mask`` and ``labels``, each (rows, length), the same three with
    ``other_`` before their names, and ``desirable`` (rows,). What was kept of a reference model follows as float32 tensors.

    With ``media``, the reader of what rows hold beside text, ``seen`` and ``other_seen`` hold what a model is given of that.
    """

    pad: int
    side: str = "right"
    media: MediaReader | None = None

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """One batch."""
        batch: dict[str, Any] = {"desirable": torch.tensor([row["desirable"] for row in rows])}
        for name, prefix in (("tokens", ""), ("other", "other_")):
            part = Collator(self.pad, sequence=name, side=self.side)(rows)
            part.pop("loss_weights", None)
            if self.media is not None:
                part[SEEN] = self.media.inputs(part["input_ids"], [one for row in rows for one in row[name].media])
            batch |= {f"{prefix}{key}": tensor for key, tensor in part.items()}
        for name, value in rows[0].items():
            if isinstance(value, float):
                batch[name] = torch.tensor([row[name] for row in rows], dtype=torch.float32)
        return batch
