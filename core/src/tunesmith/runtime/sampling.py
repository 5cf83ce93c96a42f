"""The order of rows: a sampler whose order depends on seed and epoch only, so that a resumed epoch repeats it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch.utils.data import Sampler
from transformers import TrainingArguments
from transformers.trainer_pt_utils import LengthGroupedSampler


class EpochSampler(Sampler[int]):
    """Another sampler, with random numbers of its own that start anew from ``seed + epoch`` in each epoch."""

    def __init__(self, inner: Any, seed: int) -> None:
        self.inner = inner
        self.seed = seed
        self.epoch = 0
        inner.generator = torch.Generator()

    @classmethod
    def by_length(cls, lengths: list[int], args: TrainingArguments) -> EpochSampler:
        """Rows of about one length together, the order of batches at random."""
        size = args.train_batch_size * args.gradient_accumulation_steps
        seed = args.seed if args.data_seed is None else args.data_seed
        return cls(LengthGroupedSampler(size, lengths=lengths), seed)

    def set_epoch(self, epoch: int) -> None:
        """Say which epoch comes next."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[int]:
        self.inner.generator.manual_seed(self.seed + self.epoch)
        return iter(self.inner)

    def __len__(self) -> int:
        return len(self.inner)


def row_lengths(dataset: Any) -> list[int] | None:
    """The length of each row, where the dataset stands on a token store, which knows them without reading any token."""
    store = getattr(dataset, "store", None)
    return None if store is None else [int(length) for length in store.lengths()]
