"""``tunesmith plot``."""

from __future__ import annotations

from pathlib import Path

import click

from tunesmith.errors import TunesmithError, nearest
from tunesmith.past_runs import history, read_run
from tunesmith.runtime.loss_plot import Curve, draw

SUFFIXES = (".png", ".svg")


@click.command()
@click.argument("folders", metavar="RUN…", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--measure", default="loss", show_default=True, help="What to draw: loss, eval_loss, learning_rate, …")
@click.option("--out", type=click.Path(path_type=Path), help="A .png or .svg file. [default: MEASURE.png]")
def plot(folders: tuple[Path, ...], measure: str, out: Path | None) -> None:
    """Draw a measure of one or more runs over their steps, as logged and smoothed."""
    file = out or Path(f"{measure}.png")
    if file.suffix not in SUFFIXES:
        raise TunesmithError(f"--out: {file} is neither PNG nor SVG.", f"Give a name that ends in {' or '.join(SUFFIXES)}.")
    curves = [_curve(folder, measure) for folder in folders]
    file.write_bytes(draw(measure, curves, file.suffix.removeprefix(".")))
    click.echo(str(file))


def _curve(folder: Path, measure: str) -> Curve:
    entries = history(read_run(folder))
    points = [(entry["step"], entry[measure]) for entry in entries if measure in entry]
    if not points:
        known = sorted({name for entry in entries for name, value in entry.items() if isinstance(value, float)})
        raise TunesmithError(
            f"{folder} has no {measure!r}.", nearest(measure, known) or f"It has {', '.join(known) or 'nothing'}."
        )
    return Curve(str(folder), points)
