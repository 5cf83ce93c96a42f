"""Rows of several datasets in one order, read once from front to back: mixing and shuffling without holding them all.

The order is a function of seed and epoch alone. Mixing follows :mod:`tunesmith.data.mix` row for row, but among rows as they
are read, before it is known which of them are kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

from tunesmith.data.mix import draws

T = TypeVar("T")
END: Any = object()


class Taken(NamedTuple, Generic[T]):
    """A row, the number of its dataset, and whether the dataset had been used up before, so that it is given once more."""

    dataset: int
    again: bool
    row: T


class _Feed(Generic[T]):
    """The rows of one dataset; one is read ahead, so that the last is known to be the last. Begins again at its end."""

    def __init__(self, number: int, open: Callable[[], Iterator[T]]) -> None:
        self.number = number
        self.used_up = False
        self._open = open
        self._start()
        self.empty = self.used_up

    def _start(self) -> None:
        self._rows = self._open()
        self._advance()

    def _advance(self) -> None:
        self._next = next(self._rows, END)
        self.used_up = self.used_up or self._next is END

    def take(self) -> Taken[T]:
        """The next row."""
        again = self.used_up
        if self._next is END:
            self._start()
        row = self._next
        self._advance()
        return Taken(self.number, again, row)


def mixed(
    datasets: Sequence[Callable[[], Iterator[T]]], strategy: str, shares: Sequence[float] = (), seed: int = 0
) -> Iterator[Taken[T]]:
    """The rows of several datasets as ``mix_strategy`` wants them.

    :param datasets: each opens one of them at its beginning.
    """
    if strategy == "concat" or len(datasets) < 2:
        yield from _one_by_one(datasets)
        return
    feeds = [_Feed(number, open) for number, open in enumerate(datasets)]
    if strategy == "interleave_under" and any(feed.empty for feed in feeds):
        return
    kept = [feed for feed in feeds if not feed.empty]
    if shares:
        some = [shares[feed.number] for feed in kept]
        shares = [share / sum(some) for share in some]
    enough = any if strategy == "interleave_under" and len(kept) > 1 else all
    for turn in _turns(len(kept), shares, seed):
        if enough(feed.used_up for feed in kept):
            return
        for number in turn:
            if not (strategy == "interleave_once" and kept[number].used_up):
                yield kept[number].take()


def _one_by_one(datasets: Sequence[Callable[[], Iterator[T]]]) -> Iterator[Taken[T]]:
    for number, open in enumerate(datasets):
        for row in open():
            yield Taken(number, False, row)


def _turns(count: int, shares: Sequence[float], seed: int) -> Iterator[Sequence[int]]:
    """Without shares every dataset once and again; with shares one drawn at random after the other."""
    if not shares or count < 2:
        while True:
            yield range(count)
    for block in draws(count, shares, seed):
        yield from ([number] for number in block.tolist())


def shuffled(rows: Iterable[T], size: int, seed: Sequence[int]) -> Iterator[T]:
    """The rows by way of a buffer: each that comes in takes the place of one that is drawn, and the rest follow at random."""
    import numpy as np

    random = np.random.default_rng(seed)
    held: list[T] = []
    for row in rows:
        if len(held) < size:
            held.append(row)
            continue
        at = int(random.integers(size))
        yield held[at]
        held[at] = row
    for at in random.permutation(len(held)).tolist():
        yield held[at]
