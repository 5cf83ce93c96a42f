"""Rows of a run's data as stretches of text that a page marks."""

from __future__ import annotations

from collections.abc import Iterator

from tunesmith.plan import Plan
from tunesmith.plugins import Plugins


def shown_rows(plan: Plan, plugins: Plugins, count: int) -> Iterator[tuple[str, str | None]]:
    """For each of the first ``count`` rows of every dataset its place and counts, then its text, learned stretches marked."""
    from tunesmith.data.preview import preview

    for row in preview(plan, plugins, count):
        name = f" ({row.sequence})" if row.sequence not in ("tokens", "") else ""
        counts = "" if row.bad else f", {row.tokens} tokens, {row.learned} learned"
        yield f"{row.dataset}{name} {row.place}{counts}\n", "row"
        if row.bad:
            yield f"{row.bad}\n", "bad"
        for piece in row.rendered.pieces:
            yield piece.text, "learned" if piece.weight > 0 else None
        yield "\n", None
