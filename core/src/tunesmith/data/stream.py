"""Data that is read while it is learned from: the same steps as in the prepared flow, on one block of rows after another.

A *block* is as many rows as ``preprocessing_batch_size`` says, in the order of the stream. What becomes of it depends on its
rows only, so that blocks can be made by any process, and one that was begun before a checkpoint can be made again. Packs are
filled from the rows of one block.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import count, islice
from pathlib import Path
from typing import Any

from tunesmith.collecting import collector_paused
from tunesmith.contracts import Source
from tunesmith.data.cache import Key
from tunesmith.data.conversation import Tokens
from tunesmith.data.dataset_rows import make_format
from tunesmith.data.pack import pack
from tunesmith.data.preparation import Job, Preparation, make_job
from tunesmith.data.report import Tally
from tunesmith.data.store import join, unpackable
from tunesmith.data.stream_order import Taken, mixed, shuffled
from tunesmith.data.work import Block, Row, Worker
from tunesmith.data.workers import blocks_of
from tunesmith.plan import Plan
from tunesmith.plugins import Plugins

TRAIN, EVAL = "train", "eval"


@dataclass(frozen=True)
class Place:
    """One block: its number within an epoch, and through all epochs."""

    epoch: int = 0
    block: int = 0
    number: int = 0


@dataclass(frozen=True)
class StreamBlock:
    """What came of one block.

    :param examples: as :class:`tunesmith.runtime.collate.Rows` gives them: tokens by the name of their sequence, and
        ``starts`` where rows are packed.
    :param tallies: counts of the rows that were read for the first time, by the number of their dataset.
    """

    place: Place
    examples: Sequence[Mapping[str, Any]]
    tallies: Mapping[int, Tally] = field(default_factory=dict)


@dataclass(frozen=True)
class Stream:
    """What a run learns from, not read yet. ``aside``: rows at the beginning of each dataset that are not learned."""

    preparation: Preparation
    jobs: tuple[Job, ...]
    aside: tuple[int, ...]

    @classmethod
    def of(cls, preparation: Preparation) -> Stream:
        """The stream of a run; ``val_size`` is shared out evenly among its datasets."""
        datasets = [dataset for dataset in preparation.plan.datasets if dataset.split == TRAIN]
        size, each = int(preparation.options.val_size), len(datasets)
        aside = tuple((size + each - 1 - number) // each for number in range(each))
        return cls(preparation, tuple(make_job(preparation, dataset, streamed=True) for dataset in datasets), aside)

    @property
    def key(self) -> Key:
        """Everything that the examples and their order depend on."""
        options = self.preparation.options
        return {
            "datasets": [{"name": job.dataset.name, "aside": first, "rows": job.key} for job, first in self._parts],
            "mix_strategy": options.mix_strategy,
            "interleave_probs": list(options.interleave_probs),
            "buffer_size": self.buffer,
            "block": options.preprocessing_batch_size,
            "packing": self.packed,
            "seed": self.preparation.seed,
        }

    @property
    def packed(self) -> bool:
        """Whether an example holds several rows."""
        return self.preparation.packing

    @property
    def buffer(self) -> int:
        """Rows that are shuffled among; one leaves them in their order."""
        plan = self.preparation.plan
        still = "disable_shuffling" in plan.settings and plan["disable_shuffling"]
        return 1 if still else self.preparation.options.buffer_size

    @property
    def _parts(self) -> Iterator[tuple[Job, int]]:
        return zip(self.jobs, self.aside, strict=True)

    def set_aside(self) -> list[Job]:
        """The first rows of the datasets, as data to evaluate on."""
        return [
            make_job(self.preparation, replace(job.dataset, split=EVAL), first=first) for job, first in self._parts if first
        ]

    def rows(self, epoch: int) -> Iterator[Taken[Row]]:
        """The rows of one epoch in their order."""
        options, seed = self.preparation.options, self.preparation.seed
        datasets = [partial(_rows, job.source, first) for job, first in self._parts]
        rows = mixed(datasets, options.mix_strategy, options.interleave_probs, seed)
        return rows if self.buffer == 1 else shuffled(rows, self.buffer, (seed, epoch))

    def blocks(self, start: Place, mine: Callable[[int], bool]) -> Iterator[StreamBlock]:
        """Blocks from ``start`` on, epoch after epoch without end; ends only where an epoch has no rows at all.

        Up to ``start`` rows are read and left alone.

        :param mine: whether the block of this number is to be made.
        """
        make, number = _Maker(self), start.number - start.block
        for epoch in count(start.epoch):
            first = number
            for block in blocks_of(self.rows(epoch), self.preparation.options.preprocessing_batch_size):
                if number >= start.number and mine(number):
                    yield make(Place(epoch, number - first, number), block)
                number += 1
            if number == first:
                return

    def __reduce__(self) -> tuple[Any, ...]:
        return _remade, (self.preparation.plan.to_json(secrets=True),)


def _remade(plan_text: str) -> Stream:
    """The stream in a process of its own."""
    plan = Plan.from_json(plan_text)
    plugins = Plugins(without=plan.without, only=plan.only, local=Path(plan.local) if plan.local else None)
    return Stream.of(Preparation.of(plan, plugins))


def _rows(source: Source, aside: int) -> Iterator[Row]:
    return islice(source.rows(), aside, None)


class _Maker:
    """Makes blocks."""

    def __init__(self, stream: Stream) -> None:
        own = stream.preparation
        self._limit = own.options.cutoff_len if stream.packed else None
        self._workers = [
            Worker(make_format(job.dataset, own.plugins), own.renderer, own.encoder, job.wishes) for job in stream.jobs
        ]

    def __call__(self, place: Place, rows: Sequence[Taken[Row]]) -> StreamBlock:
        groups: dict[tuple[int, bool], list[int]] = defaultdict(list)
        for at, taken in enumerate(rows):
            groups[taken.dataset, taken.again].append(at)
        found: list[tuple[int, dict[str, Tokens]]] = []
        tallies: dict[int, Tally] = {}
        for (dataset, again), places in groups.items():
            with collector_paused():
                block = self._workers[dataset]([rows[at].row for at in places])
            found += zip((places[row] for row in block.rows), _examples(block), strict=True)
            if not again and not place.epoch:
                tallies[dataset] = block.tally
        found.sort(key=lambda one: one[0])
        examples = [example for _, example in found]
        return StreamBlock(place, _packs(examples, self._limit) if self._limit else examples, tallies)


def _examples(block: Block) -> Iterator[dict[str, Tokens]]:
    import numpy as np

    cut = {name: (part.ids, part.weights, np.cumsum([0, *part.lengths])) for name, part in block.sequences.items()}
    for i in range(len(block.rows)):
        seen = block.media[i] if block.media else ()
        yield {
            name: Tokens(ids[at[i] : at[i + 1]], weights[at[i] : at[i + 1]], seen) for name, (ids, weights, at) in cut.items()
        }


def _packs(examples: Sequence[Mapping[str, Tokens]], limit: int) -> list[Mapping[str, Any]]:
    import numpy as np

    if not examples:
        return []
    (name,) = examples[0]
    if any(example[name].media for example in examples):
        raise unpackable()
    lengths = np.array([len(example[name].ids) for example in examples], np.int64)
    order, ends = pack(lengths, limit)
    packs: list[Mapping[str, Any]] = []
    for rows in np.split(order, ends[:-1]):
        starts = np.cumsum([0, *lengths[rows[:-1]]])
        packs.append({name: join([examples[row][name] for row in rows]), "starts": starts})
    return packs
