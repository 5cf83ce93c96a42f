"""``tunesmith estimate``."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import click

from tunesmith import planning
from tunesmith.cli.arguments import RUN_CONTEXT, read_arguments, run_arguments
from tunesmith.cli.plan_text import table
from tunesmith.errors import TunesmithError
from tunesmith.plan import Estimate
from tunesmith.plugins import Plugins
from tunesmith.sizes import size_text

BATCH, LENGTH = "per_device_train_batch_size", "cutoff_len"


@dataclass(frozen=True)
class Cell:
    """The estimate for one choice of keys."""

    keys: dict[str, str]
    estimate: Estimate


@click.command(context_settings=RUN_CONTEXT)
@run_arguments
@click.option("--batch", default="1,2,4,8", show_default=True, help="Batch sizes per device, the columns of the table.")
@click.option("--length", default="512,1024,2048,4096", show_default=True, help="Values of cutoff_len, its rows.")
@click.option("--vary", multiple=True, metavar="KEY=A,B", help="A table for each value, as in bf16=true,false.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, in bytes.")
@click.pass_obj
def estimate(
    plugins: Plugins, arguments: tuple[str, ...], batch: str, length: str, vary: tuple[str, ...], as_json: bool
) -> None:
    """Estimate a run's peak memory over batch size and sequence length: tunesmith estimate RUN.yaml [key=value …]

    Arithmetic, for one process without sharding; the plan prints its parts.
    """
    further = [_varied(word) for word in vary]
    arguments = _writing_nothing(plugins, arguments)
    choices = [*further, (LENGTH, length.split(",")), (BATCH, batch.split(","))]
    cells = [_cell(plugins, arguments, dict(zip((key for key, _ in choices), words, strict=True))) for words in _all(choices)]
    if as_json:
        click.echo(json.dumps([{**cell.keys, "bytes": cell.estimate.total, **cell.estimate.parts} for cell in cells], indent=1))
    else:
        click.echo("\n".join(_lines(cells, [key for key, _ in further], batch.split(","))))


def _writing_nothing(plugins: Plugins, arguments: tuple[str, ...]) -> tuple[str, ...]:
    """The same words, for a folder that nobody has: nothing is written here, and the run's own may hold one, or be in use."""
    goes_on = read_arguments(plugins, arguments).settings.get("resume_from_checkpoint")
    nowhere = Path(tempfile.gettempdir(), f"tunesmith-estimate-{os.getpid()}")
    return arguments if goes_on and goes_on.value else (*arguments, f"output_dir={nowhere}", "overwrite_output_dir=false")


def _varied(word: str) -> tuple[str, list[str]]:
    key, sign, values = word.partition("=")
    if not sign or not values:
        raise TunesmithError(f"--vary {word}: no values", "Write --vary bf16=true,false")
    return key, values.split(",")


def _all(choices: Sequence[tuple[str, list[str]]]) -> Iterator[tuple[str, ...]]:
    return product(*(values for _, values in choices))


def _cell(plugins: Plugins, arguments: Sequence[str], keys: dict[str, str]) -> Cell:
    words = [f"{key}={value}" for key, value in keys.items()]
    made = planning.make(read_arguments(plugins, [*arguments, *words]), plugins, "train")
    if made.estimate is None:
        hint = "Give a model that is on this machine: a folder, or a download in the hub's cache."
        raise TunesmithError("The model's size cannot be known here.", hint)
    return Cell(keys, made.estimate)


def _lines(cells: Sequence[Cell], further: Sequence[str], batches: Sequence[str]) -> Iterator[str]:
    rows: dict[tuple[str, ...], dict[str, list[Cell]]] = {}
    for cell in cells:
        rows.setdefault(tuple(cell.keys[key] for key in further), {}).setdefault(cell.keys[LENGTH], []).append(cell)
    for values, lengths in rows.items():
        if further:
            yield " ".join(f"{key}={value}" for key, value in zip(further, values, strict=True))
        body = [(length, *(size_text(cell.estimate.total) for cell in line)) for length, line in lengths.items()]
        yield from table([(f"{LENGTH} \\ batch", *batches), *body])
        yield ""
    error = cells[0].estimate.error
    yield f"Peak of one process; the truth is expected within {error:.0%} of each figure, which is not validated yet."
