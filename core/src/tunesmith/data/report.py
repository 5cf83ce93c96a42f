"""What became of the rows: counted per dataset while they are prepared, kept beside them, shown as JSON or a table."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from tunesmith.values import from_plain

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

PERCENTILES = (50, 90, 95, 99)
#: Values of cutoff_len that people choose among.
CUTOFFS = (512, 1024, 2048, 4096, 8192, 16384, 32768)
#: Bad rows that are kept word for word; all are counted.
SHOWN = 100


@dataclass(frozen=True)
class BadRowReport:
    """One row that could not be used: where it is, which part of it is wrong, and why."""

    place: str
    column: str | None
    reason: str

    def __str__(self) -> str:
        return f"{self.place}: {f'{self.column}: ' if self.column else ''}{self.reason}"


@dataclass(frozen=True)
class SourceReport:
    """One dataset.

    :param rows_in: rows that were read.
    :param kept: examples that came of them; with split documents and conversations more than rows.
    :param dropped: rows that were left out, by reason; bad rows among them.
    :param duplicates: kept examples whose tokens equal those of an earlier one; they stay in.
    :param truncated: examples that lost tokens to ``cutoff_len``, ``answers_cut`` of them the end of a learned answer.
    :param split_documents: documents that were too long and became several examples.
    :param split_conversations: conversations that became an example for each answer, since the template writes earlier
        answers otherwise once others follow them.
    :param system_left_out: rows whose system text the template leaves out, as some published ones do in a row that ends with
        an answer.
    :param stops_added: examples whose last answer got the stop token that the template's own text does not end it with.
    :param tokens_lost: tokens that went with them, and with rows dropped for their length.
    :param nothing_to_learn: rows left out because all their weights were zero.
    :param shortest_prompt: tokens of the shortest prompt among rows that were dropped for theirs.
    :param length: percentiles of the tokens per row before anything was cut, and the longest and shortest.
    :param would_cut: the share of rows that is longer than each common ``cutoff_len``.
    :param notes: what else was decided for this dataset.
    """

    name: str
    split: str
    rows_in: int = 0
    kept: int = 0
    dropped: Mapping[str, int] = field(default_factory=dict)
    bad_rows: tuple[BadRowReport, ...] = ()
    bad_row_count: int = 0
    duplicates: int = 0
    truncated: int = 0
    answers_cut: int = 0
    split_documents: int = 0
    split_conversations: int = 0
    system_left_out: int = 0
    stops_added: int = 0
    tokens_lost: int = 0
    nothing_to_learn: int = 0
    tokens: int = 0
    tokens_learned: int = 0
    length: Mapping[str, int] = field(default_factory=dict)
    would_cut: Mapping[str, float] = field(default_factory=dict)
    shortest_prompt: int | None = None
    notes: tuple[str, ...] = ()

    def to_json(self) -> str:
        """The counts as text."""
        return json.dumps(asdict(self), ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> SourceReport:
        """Read what :meth:`to_json` wrote."""
        report: SourceReport = from_plain(cls, json.loads(text))
        return report


@dataclass(frozen=True)
class ViewReport:
    """What is trained or evaluated on: examples are rows, or packs of rows; ``fill`` is how full the packs are."""

    name: str
    examples: int
    rows: int
    tokens: int
    fill: float | None = None


@dataclass(frozen=True)
class Report:
    """The data report of a run. ``cached``: nothing had to be prepared, the counts are those of back then."""

    sources: tuple[SourceReport, ...] = ()
    views: tuple[ViewReport, ...] = ()
    notes: tuple[str, ...] = ()
    cached: bool = False

    @property
    def bad_rows(self) -> int:
        """Rows of all datasets that could not be used."""
        return sum(source.bad_row_count for source in self.sources)

    def to_json(self) -> str:
        """The report as ``data_report.json`` has it."""
        return json.dumps(asdict(self), ensure_ascii=False, indent=1)

    @classmethod
    def from_json(cls, text: str) -> Report:
        """Read what :meth:`to_json` wrote."""
        report: Report = from_plain(cls, json.loads(text))
        return report


# ---- counting --------------------------------------------------------------------------------------------------------


@dataclass
class Tally:
    """Counts of some rows of one dataset; tallies of consecutive rows add up."""

    rows_in: int = 0
    kept: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    bad: list[BadRowReport] = field(default_factory=list)
    bad_count: int = 0
    truncated: int = 0
    answers_cut: int = 0
    split_documents: int = 0
    split_conversations: int = 0
    system_left_out: int = 0
    stops_added: int = 0
    tokens_lost: int = 0
    nothing_to_learn: int = 0
    tokens: int = 0
    tokens_learned: int = 0
    shortest_prompt: int | None = None
    lengths: list[NDArray[np.int64]] = field(default_factory=list)
    digests: list[NDArray[np.uint64]] = field(default_factory=list)
    columns: set[str] = field(default_factory=set)

    def add(self, other: Tally) -> None:
        """Take up the counts of the rows after these."""
        for name, value in vars(other).items():
            mine = getattr(self, name)
            if isinstance(value, Counter):
                mine.update(value)
            elif isinstance(value, set):
                mine |= value
            elif name == "bad":
                mine.extend(value[: max(0, SHOWN - len(mine))])
            elif isinstance(value, list):
                mine.extend(value)
            elif name == "shortest_prompt":
                self.shortest_prompt = min((n for n in (mine, value) if n is not None), default=None)
            else:
                setattr(self, name, mine + value)

    def add_bad(self, row: BadRowReport, reason: str) -> None:
        """Count a row that cannot be used."""
        self.bad_count += 1
        self.dropped[reason] += 1
        if len(self.bad) < SHOWN:
            self.bad.append(row)

    def report(self, name: str, split: str, notes: Sequence[str]) -> SourceReport:
        """The counts as they are shown."""
        lengths = _joined(self.lengths)
        return SourceReport(
            name=name,
            split=split,
            rows_in=self.rows_in,
            kept=self.kept,
            dropped=dict(self.dropped.most_common()),
            bad_rows=tuple(self.bad),
            bad_row_count=self.bad_count,
            duplicates=_duplicates(self.digests),
            truncated=self.truncated,
            answers_cut=self.answers_cut,
            split_documents=self.split_documents,
            split_conversations=self.split_conversations,
            system_left_out=self.system_left_out,
            stops_added=self.stops_added,
            tokens_lost=self.tokens_lost,
            nothing_to_learn=self.nothing_to_learn,
            tokens=self.tokens,
            tokens_learned=self.tokens_learned,
            length=_percentiles(lengths),
            would_cut={str(cutoff): round(float((lengths > cutoff).mean()), 4) for cutoff in CUTOFFS} if len(lengths) else {},
            shortest_prompt=self.shortest_prompt,
            notes=tuple(notes),
        )


def _joined(arrays: Iterable[NDArray[Any]]) -> NDArray[Any]:
    import numpy as np

    return np.concatenate([*arrays, np.empty(0, np.int64)])


def _duplicates(digests: Sequence[NDArray[np.uint64]]) -> int:
    import numpy as np

    together = np.concatenate([*digests, np.empty(0, np.uint64)])
    return len(together) - len(np.unique(together))


def _percentiles(lengths: NDArray[np.int64]) -> dict[str, int]:
    import numpy as np

    if not len(lengths):
        return {}
    values = np.percentile(lengths, PERCENTILES, method="inverted_cdf")
    named = {f"p{percent}": int(value) for percent, value in zip(PERCENTILES, values, strict=True)}
    return {"shortest": int(lengths.min()), **named, "longest": int(lengths.max())}


# ---- showing ---------------------------------------------------------------------------------------------------------

ROWS: Mapping[str, str] = {
    "rows in": "rows_in",
    "kept": "kept",
    "duplicates": "duplicates",
    "truncated": "truncated",
    "  answers cut": "answers_cut",
    "documents split": "split_documents",
    "conversations split": "split_conversations",
    "system texts left out": "system_left_out",
    "stop tokens added": "stops_added",
    "tokens lost": "tokens_lost",
    "tokens": "tokens",
    "tokens learned": "tokens_learned",
}


def table(report: Report, *, bad_rows: int = 5) -> str:
    """The report for people: a column to each dataset, then views, bad rows (the first few of each dataset) and notes."""
    lines = _columns(_cells(report.sources))
    for view in report.views:
        fill = f", {view.fill:.1%} full" if view.fill is not None else ""
        rows = f" of {view.rows:,} rows" if view.fill is not None else ""
        lines.append(f"{view.name}: {view.examples:,} examples{rows}, {view.tokens:,} tokens{fill}")
    for source in report.sources:
        lines += [f"{source.name}: {note}" for note in source.notes]
        lines += _bad_rows(source, bad_rows)
    return "\n".join([*lines, *report.notes])


def _cells(sources: Sequence[SourceReport]) -> list[list[str]]:
    rows = [["", *(f"{source.name} ({source.split})" for source in sources)]]
    for title, name in ROWS.items():
        rows.append([title, *(f"{getattr(source, name):,}" for source in sources)])
    for reason in dict.fromkeys(reason for source in sources for reason in source.dropped):
        rows.append([f"dropped: {reason}", *(f"{source.dropped.get(reason, 0):,}" for source in sources)])
    for mark in ("shortest", *(f"p{percent}" for percent in PERCENTILES), "longest"):
        rows.append([f"length {mark}", *(f"{source.length.get(mark, 0):,}" for source in sources)])
    for cutoff in map(str, CUTOFFS):
        rows.append([f"cutoff_len {cutoff} cuts", *(f"{source.would_cut.get(cutoff, 0):.1%}" for source in sources)])
    return rows


def _columns(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            [cells[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(cells[1:], widths[1:], strict=True))]
        ).rstrip()
        for cells in rows
    ]


def _bad_rows(source: SourceReport, shown: int) -> list[str]:
    lines = [f"bad row: {row}" for row in source.bad_rows[:shown]]
    more = source.bad_row_count - len(lines)
    return [*lines, f"{source.name}: {more:,} more bad rows"] if more > 0 else lines
