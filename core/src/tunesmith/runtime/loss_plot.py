"""Loss curves as pictures, drawn without a display."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

#: What is drawn, each into ``training_NAME.png``.
CURVES = ("loss", "eval_loss", "eval_accuracy")


@dataclass(frozen=True)
class Curve:
    """A measure over steps, and the name of its run where several are drawn together."""

    name: str
    points: Sequence[tuple[float, float]]


def draw_curves(folder: Path, history: Sequence[dict[str, float]]) -> list[Path]:
    """One picture for each measure that ``history`` (of ``trainer_state.json``) holds at least twice.

    :return: the files that were written.
    """
    written = []
    for name in CURVES:
        points = [(entry["step"], entry[name]) for entry in history if name in entry]
        if len(points) > 1:
            file = folder / f"training_{name}.png"
            file.write_bytes(draw(name, [Curve("training", points)]))
            written.append(file)
    return written


def draw(measure: str, curves: Sequence[Curve], form: str = "png") -> bytes:
    """A picture of one measure over steps, each curve pale as logged and strong as smoothed.

    :param form: ``png`` or ``svg``.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.add_subplot()
    for number, curve in enumerate(curves):
        steps, values = zip(*curve.points, strict=True)
        colour = f"C{number % 10}"
        axes.plot(steps, values, color=colour, linewidth=1, alpha=0.35)
        axes.plot(steps, smoothed(values), color=colour, linewidth=2, label=curve.name)
    axes.set(xlabel="step", ylabel=measure, title=f"{measure}, as logged (pale) and smoothed")
    axes.grid(alpha=0.3)
    axes.legend()
    picture = io.BytesIO()
    figure.savefig(picture, format=form)
    return picture.getvalue()


def smoothed(values: Sequence[float]) -> list[float]:
    """A running mean whose memory is about a tenth of the curve, without the usual pull towards its start."""
    keep = 1 - 1 / max(2.0, len(values) / 10)
    mean, weight, line = 0.0, 0.0, []
    for value in values:
        mean, weight = keep * mean + (1 - keep) * value, keep * weight + (1 - keep)
        line.append(mean / weight)
    return line
