"""A plan as text for people."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import click

from tunesmith.plan import DatasetPlan, Estimate, Plan, is_secret
from tunesmith.sizes import size_text
from tunesmith.specs import AXES

WORDS = {axis.hook: axis.word for axis in AXES}


def plan_text(plan: Plan, *, everything: bool = False) -> str:
    """All of a plan: what was chosen and why, models, data, memory, values with origin and owner, and what is not here."""
    sections = {
        "chosen": table((WORDS[c.axis], c.name, str(c.owner), c.why) for c in plan.chosen),
        "models": table(
            (m.role, m.path or f"{m.base_of} with its tuner off", _adapters(m.adapters)) for m in plan.models.values()
        ),
        "data": table(_dataset(dataset) for dataset in plan.datasets),
        "memory": _memory(plan.estimate),
        "values": table(_values(plan, everything)),
        "unused": table((key, _shown(key, s.value), s.origin, f"owner: {s.owner}") for key, s in plan.unused.items()),
        "notices": [f"  {notice}" for notice in plan.notices],
        "not here": [f"  {line}" for problem in plan.missing for line in str(problem).splitlines()],
    }
    lines = [click.style(f"plan of tunesmith {plan.command}", bold=True)]
    for title, rows in sections.items():
        if rows:
            lines += ["", click.style(title, bold=True, fg="yellow" if title == "not here" else None), *rows]
    return "\n".join(lines)


def say_notices(plan: Plan) -> None:
    """What was translated, decided or left unused, on standard error, a line each."""
    for notice in plan.notices:
        click.echo(f"note: {notice}", err=True)
    for key, setting in plan.unused.items():
        click.echo(f"note: {key} ({setting.origin}) is not used by this run: it belongs to {setting.owner}", err=True)


def table(rows: Iterable[tuple[str, ...]]) -> list[str]:
    """Rows as lines, their cells below each other."""
    table = list(rows)
    widths = [max(len(row[i]) for row in table if i < len(row)) for i in range(max(map(len, table), default=0))]
    return ["  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=False)).rstrip() for row in table]


def _adapters(names: tuple[str, ...]) -> str:
    return f"with {', '.join(names)}" if names else ""


def _dataset(dataset: DatasetPlan) -> tuple[str, ...]:
    size = f"{len(dataset.files)} files, {size_text(dataset.size)}" if dataset.files else ""
    return dataset.split, dataset.name, f"{dataset.format} as {dataset.kind}", f"from {dataset.source}", size


def _memory(estimate: Estimate | None) -> list[str]:
    if estimate is None:
        return []
    low, high = estimate.total * (1 - estimate.error), estimate.total * (1 + estimate.error)
    rows = [("parameters", f"{estimate.parameters:,}"), ("of them learning", f"{estimate.trainable:,}")]
    rows += [(part, size_text(size)) for part, size in estimate.parts.items()]
    rows += [
        (
            "peak",
            f"{size_text(estimate.total)} (between {size_text(low)} and {size_text(high)}; {estimate.basis}, not validated)",
        )
    ]
    return table(rows)


def _values(plan: Plan, everything: bool) -> Iterator[tuple[str, ...]]:
    for key, setting in sorted(plan.settings.items()):
        if everything or setting.origin != "default":
            yield key, _shown(key, setting.value), setting.origin, f"owner: {setting.owner}"


def _shown(key: str, value: Any) -> str:
    if is_secret(key) and value:
        return "***"
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
