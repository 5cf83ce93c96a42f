"""The order of prompts: a buffer of them at a time, each buffer as often as it is learned from."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch.utils.data import Sampler


class BufferSampler(Sampler[int]):
    """Row numbers, ``size`` different ones repeated ``times`` over.

    The last buffer of an epoch is filled up from the epoch's beginning. The order depends on ``seed`` and the epoch only, so
    that a resumed epoch repeats it.

    :param size: prompts in a buffer, on all processes together.
    :param shuffle: at random, or as they come.
    """

    def __init__(self, rows: int, size: int, times: int, *, seed: int, shuffle: bool) -> None:
        self.rows, self.size, self.times = rows, size, times
        self.seed, self.shuffle, self.epoch = seed, shuffle, 0

    def set_epoch(self, epoch: int) -> None:
        """Say which epoch comes next."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self.seed + self.epoch)
        order = torch.randperm(self.rows, generator=generator).tolist() if self.shuffle else list(range(self.rows))
        for start in range(0, self.rows, self.size):
            buffer = [order[at % self.rows] for at in range(start, start + self.size)]
            for _ in range(self.times):
                yield from buffer

    def __len__(self) -> int:
        return -(-self.rows // self.size) * self.size * self.times
