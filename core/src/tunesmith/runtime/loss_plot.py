"""Loss curves as pictures, drawn without a display."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

#: What is drawn, each into ``training_NAME.png``.
CURVES = ("loss", "eval_loss", "eval_accuracy")


def draw_curves(folder: Path, history: Sequence[dict[str, float]]) -> list[Path]:
    """One picture for each measure that ``history`` (of ``trainer_state.json``) holds at least twice.

    :return: the files that were written.
    """
    written = []
    for name in CURVES:
        points = [(entry["step"], entry[name]) for entry in history if name in entry]
        if len(points) > 1:
            file = folder / f"training_{name}.png"
            file.write_bytes(draw(name, points))
            written.append(file)
    return written


def draw(name: str, points: Sequence[tuple[float, float]]) -> bytes:
    """A PNG of one measure over steps, with a smoothed line on top."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    steps, values = zip(*points, strict=True)
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.plot(steps, values, color="#7aa6d8", linewidth=1, label="as logged")
    axes.plot(steps, smoothed(values), color="#1f4e8c", linewidth=2, label="smoothed")
    axes.set(xlabel="step", ylabel=name, title=f"training {name}")
    axes.grid(alpha=0.3)
    axes.legend()
    picture = io.BytesIO()
    canvas.print_png(picture)
    return picture.getvalue()


def smoothed(values: Sequence[float]) -> list[float]:
    """A running mean whose memory is about a tenth of the curve, without the usual pull towards its start."""
    keep = 1 - 1 / max(2.0, len(values) / 10)
    mean, weight, line = 0.0, 0.0, []
    for value in values:
        mean, weight = keep * mean + (1 - keep) * value, keep * weight + (1 - keep)
        line.append(mean / weight)
    return line
