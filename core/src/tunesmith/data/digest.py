"""The data report in a few lines: what was kept, and everything that was not, or not whole."""

from __future__ import annotations

from collections.abc import Iterator

from tunesmith.data.report import Report, SourceReport, ViewReport


def digest(report: Report) -> str:
    """A line for each dataset, and for what is made of several or of packs; more only where something was lost."""
    lines = [line for source in report.sources for line in _source(source)]
    lines += [_view(view) for view in report.views if len(report.sources) > 1 or view.fill is not None]
    return "\n".join([*lines, *report.notes])


def _source(source: SourceReport) -> Iterator[str]:
    length = source.length
    counts = f"{source.kept:,} of {source.rows_in:,} rows, {source.tokens:,} tokens, {source.tokens_learned:,} of them learned"
    lengths = f"median length {length.get('p50', 0):,}, longest {length.get('longest', 0):,}"
    yield f"data {source.name} ({source.split}): {counts}; {lengths}"
    for reason, count in source.dropped.items():
        yield f"  dropped {count:,}: {reason}"
    for row in source.bad_rows[:3]:
        yield f"    {row}"
    if source.truncated:
        yield f"  truncated {source.truncated:,}: {source.tokens_lost:,} tokens lost, {source.answers_cut:,} answers cut"
    if source.duplicates:
        yield f"  duplicates {source.duplicates:,}, which stay in"
    yield from (f"  {note}" for note in source.notes)


def _view(view: ViewReport) -> str:
    packs = f" in {view.examples:,} packs, {view.fill:.0%} full" if view.fill is not None else ""
    return f"{view.name}: {view.rows:,} rows{packs}, {view.tokens:,} tokens"
