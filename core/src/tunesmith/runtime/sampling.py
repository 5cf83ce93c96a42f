"""The order of rows: a sampler whose order depends on seed and epoch only, so that a resumed epoch repeats it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch.utils.data import RandomSampler, Sampler, SequentialSampler
from transformers import TrainingArguments


class EpochSampler(Sampler[int]):
    """Another sampler, with random numbers of its own that start anew from ``seed + epoch`` in each epoch."""

    def __init__(self, inner: Any, seed: int) -> None:
        self.inner = inner
        self.seed = seed
        self.epoch = 0
        inner.generator = torch.Generator()

    @classmethod
    def around(cls, sampler: Any, args: TrainingArguments) -> Any:
        """``sampler`` itself where accelerate already makes it repeatable or its order is fixed, else wrapped."""
        if isinstance(sampler, (RandomSampler, SequentialSampler)) or not hasattr(sampler, "generator"):
            return sampler
        return cls(sampler, args.seed if args.data_seed is None else args.data_seed)

    def set_epoch(self, epoch: int) -> None:
        """Say which epoch comes next."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[int]:
        self.inner.generator.manual_seed(self.seed + self.epoch)
        return iter(self.inner)

    def __len__(self) -> int:
        return len(self.inner)
