"""Rows with two answers to one prompt → one batch of 2n sequences: the n better answers, then the n worse ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from tunesmith.contracts import MediaReader
from tunesmith.data.conversation import Tokens
from tunesmith.runtime.collate import MULTIPLE, SEEN, Collator

SIDES = ("chosen", "rejected")


@dataclass(frozen=True)
class PairCollator:
    """Makes batches of preferences: ``input_ids``, ``attention_mask`` and ``labels``, each (2n, length).

    Numbers that a row holds beside its sequences (``ref_chosen_logps``) become float32 tensors of shape (n,). With ``media``,
    the reader of what rows hold beside text, ``seen`` holds what a model is given of that; both answers follow the same.
    """

    pad: int
    multiple: int = MULTIPLE
    side: str = "right"
    media: MediaReader | None = None

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """One batch."""
        both = [{"tokens": row[name]} for name in SIDES for row in rows]
        batch = Collator(self.pad, multiple=self.multiple, side=self.side)(both)
        batch.pop("loss_weights", None)
        if self.media is not None:
            batch[SEEN] = self.media.inputs(batch["input_ids"], [one for row in both for one in row["tokens"].media])
        for name, value in rows[0].items():
            if not isinstance(value, Tokens) and np.isscalar(value):
                batch[name] = torch.tensor([float(row[name]) for row in rows], dtype=torch.float32)
        return batch
