"""``tunesmith runs``."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from tunesmith.cli.plan_text import table
from tunesmith.past_runs import PastRun, differences, find_runs


@click.command()
@click.argument("folder", default="saves", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def runs(folder: Path, as_json: bool) -> None:
    """List the runs below FOLDER (default: saves): status, last loss, and the keys in which they differ.

    A run whose process was killed is listed as died: resume_from_checkpoint: true goes on with it.
    """
    found = find_runs(folder)
    differ = differences(found)
    if as_json:
        click.echo(json.dumps([_plain(run, differ[run.folder]) for run in found], indent=1, ensure_ascii=False))
    elif not found:
        click.echo(f"No runs below {folder}.")
    else:
        click.echo("\n".join(table(_rows(found, folder, differ))))


def _plain(run: PastRun, differ: Mapping[str, Any]) -> dict[str, Any]:
    record = run.record
    return {
        "folder": str(run.folder),
        "status": run.status,
        "step": run.step,
        "loss": run.loss,
        "started": record.started if record else None,
        "ended": (record.ended or None) if record else None,
        "ended_by": (record.ended_by or None) if record else None,
        "differs": dict(differ),
    }


def _rows(found: list[PastRun], root: Path, differ: Mapping[Path, Mapping[str, Any]]) -> Iterator[tuple[str, ...]]:
    yield "run", "status", "step", "loss", "started", "differs"
    for run in found:
        loss = f"{run.loss:.4g}" if run.loss is not None else ""
        started = run.record.started[:16].replace("T", " ") if run.record else ""
        keys = " ".join(f"{key}={_word(value)}" for key, value in differ[run.folder].items())
        name = str(run.folder.relative_to(root)) if run.folder != root else str(root)
        yield name, run.status, str(run.step), loss, started, keys


def _word(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)
