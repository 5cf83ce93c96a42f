"""Answers with all that is known of them, and the batches that are made of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import torch
from torch.nn.utils.rnn import pad_sequence

#: One answer: ``ids`` of prompt and answer, ``asked`` (the prompt's length), and a number to each token of the answer under
#: every name of :data:`PER_TOKEN`. On the processor.
Row: TypeAlias = Mapping[str, torch.Tensor]

PER_TOKEN = ("logprobs", "reference", "values", "advantages", "returns")


def batch_of(rows: Sequence[Row], pad: int) -> dict[str, torch.Tensor]:
    """``input_ids``, ``attention_mask`` and ``answered``, each (rows, length), padded right.

    Beside them the numbers of all tokens in ``answered``, row after row, under every name of :data:`PER_TOKEN` that rows have.
    """
    lengths = torch.tensor([len(row["ids"]) for row in rows])
    places = torch.arange(int(lengths.max()))[None]
    asked = torch.stack([row["asked"] for row in rows])
    batch = {
        "input_ids": pad_sequence([row["ids"] for row in rows], batch_first=True, padding_value=pad),
        "attention_mask": (places < lengths[:, None]).long(),
        "answered": (places >= asked[:, None]) & (places < lengths[:, None]),
    }
    return batch | {name: torch.cat([row[name] for row in rows]) for name in PER_TOKEN if name in rows[0]}


def row_of(prompt: Sequence[int], answer: Sequence[int]) -> dict[str, torch.Tensor]:
    """An answer of which nothing is known yet."""
    return {"ids": torch.tensor([*prompt, *answer]), "asked": torch.tensor(len(prompt))}


def table(columns: Sequence[torch.Tensor]) -> torch.Tensor:
    """One row to each answer, padded right with zeros."""
    return pad_sequence(list(columns), batch_first=True)


def split(table: torch.Tensor, lengths: Sequence[int]) -> list[torch.Tensor]:
    """The rows of a table without their padding."""
    return [row[:length].clone() for row, length in zip(table, lengths, strict=True)]
