"""The data report of a stream, counted while it is learned from, and kept with checkpoints."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from tunesmith.data.dataset_rows import check_columns, check_source, too_many_bad_rows
from tunesmith.data.report import BadRowReport, Report, SourceReport, Tally, ViewReport
from tunesmith.data.stream import TRAIN, Stream, StreamBlock
from tunesmith.errors import TunesmithError

#: Rows of each dataset whose lengths and fingerprints are kept, 16 bytes each; the other counts know all rows.
KEPT = 1 << 20
ARRAYS = ("lengths", "digests")


@dataclass
class LiveReport:
    """Counts of the blocks of ``stream`` that were taken up so far.

    :param parts: how many processes share the stream: this one sees its share only.
    """

    stream: Stream
    parts: int = 1
    tallies: list[Tally] = field(default_factory=list)
    examples: int = 0
    rows: int = 0
    tokens: int = 0
    epoch: int = 0
    learned_from: int = 0
    """The last epoch that gave an example, counted from 1."""

    def __post_init__(self) -> None:
        self.tallies = self.tallies or [Tally() for _ in self.stream.jobs]

    def add(self, block: StreamBlock) -> None:
        """Take up a block.

        :raises TunesmithError: a column is nowhere, there are too many bad rows, or a whole epoch had nothing to learn.
        """
        if block.place.epoch > self.epoch:
            self._check_epoch()
            self.epoch = block.place.epoch
        for number, tally in block.tallies.items():
            self._add(number, tally)
        if block.examples:
            self.learned_from = block.place.epoch + 1
        self.examples += len(block.examples)
        self.rows += sum(len(example.get("starts", (0,))) for example in block.examples)
        self.tokens += sum(len(next(iter(example.values())).ids) for example in block.examples)

    def _add(self, number: int, tally: Tally) -> None:
        job, mine, own = self.stream.jobs[number], self.tallies[number], self.stream.preparation
        if not mine.rows_in:
            check_columns(own, job, tally.columns)
        if sum(map(len, mine.lengths)) >= KEPT:
            tally.lengths, tally.digests = [], []
        mine.add(tally)
        if mine.bad_count > own.options.max_bad_rows:
            raise too_many_bad_rows(mine.report(job.dataset.name, TRAIN, ()), own.options.max_bad_rows)

    def _check_epoch(self) -> None:
        own = self.stream.preparation
        if self.epoch == 0 and self.parts == 1:
            for source in self.sources():
                check_source(source, own.plan.settings["cutoff_len"], own.options.max_bad_rows)
        if self.learned_from < self.epoch:  # a share of one epoch may well be empty, two in a row are not
            raise TunesmithError("A whole epoch of the stream had nothing to learn.", "Look at it: tunesmith data report")

    def sources(self) -> Sequence[SourceReport]:
        """The counts of each dataset."""
        return [self._source(number) for number in range(len(self.tallies))]

    def _source(self, number: int) -> SourceReport:
        job, tally = self.stream.jobs[number], self.tallies[number]
        notes = ["read so far" if self.epoch == 0 else "read once from end to end"]
        if tally.rows_in > KEPT:
            notes.append(f"lengths and duplicates: of the first {KEPT:,} rows or so")
        if self.parts > 1:
            notes.append(f"one of {self.parts} processes counted its share")
        return tally.report(job.dataset.name, TRAIN, notes)

    def report(self, rest: Report) -> Report:
        """The report of the whole run.

        :param rest: that of what was prepared.
        """
        limit = self.stream.preparation.options.cutoff_len
        fill = self.tokens / (self.examples * limit) if self.stream.packed and self.examples else None
        view = ViewReport(TRAIN, self.examples, self.rows, self.tokens, fill)
        return Report((*self.sources(), *rest.sources), (view, *rest.views), rest.notes)

    # -- state ---------------------------------------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """The counts as plain values and arrays."""
        counts = {name: getattr(self, name) for name in ("examples", "rows", "tokens", "epoch", "learned_from")}
        return {**counts, "tallies": [_packed(tally) for tally in self.tallies]}

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from :meth:`state`."""
        for name, value in state.items():
            setattr(self, name, [_unpacked(held) for held in value] if name == "tallies" else value)


def _packed(tally: Tally) -> dict[str, Any]:
    import numpy as np

    held = vars(tally)
    arrays = {name: np.concatenate(held[name]).view(np.int64) for name in ARRAYS if held[name]}
    plain = {"bad": [asdict(row) for row in tally.bad], "columns": sorted(tally.columns), "dropped": dict(tally.dropped)}
    return {**{name: value for name, value in held.items() if name not in ARRAYS}, **plain, **arrays}


def _unpacked(held: Mapping[str, Any]) -> Tally:
    import numpy as np

    tally = Tally(**{name: value for name, value in held.items() if name not in ARRAYS})
    tally.bad = [BadRowReport(**row) for row in held["bad"]]
    tally.columns, tally.dropped = set(held["columns"]), Counter(held["dropped"])
    tally.lengths = [held["lengths"]] if "lengths" in held else []
    tally.digests = [held["digests"].view(np.uint64)] if "digests" in held else []
    return tally
