"""Two runs beside each other: what they were made with, and the losses that came of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass

from tunesmith.past_runs import PastRun, history

#: The parts of two records that should be the same for the same numbers.
PARTS = ("versions", "plugins", "fingerprints", "seeds")


@dataclass(frozen=True)
class Compared:
    """The losses of two runs: how many steps both logged, the largest difference, and at which step it is."""

    steps: int
    worst: float
    at: int

    @property
    def text(self) -> str:
        """One line."""
        if not self.steps:
            return "no step was logged by both runs"
        return f"{self.steps} losses compared: largest difference {self.worst:.3g}" + (
            f" at step {self.at}" if self.worst else ""
        )


def compare_records(one: PastRun, other: PastRun) -> Iterator[str]:
    """A line for everything the two were made with that is not the same; only as far as both kept a record."""
    if one.record is None or other.record is None:
        return
    first, second = asdict(one.record), asdict(other.record)
    for part in PARTS:
        yield from _lines(part, first[part], second[part])


def _lines(part: str, first: Mapping[str, object], second: Mapping[str, object]) -> Iterator[str]:
    for name in sorted({*first, *second}):
        before, after = (str(values.get(name, "—"))[:40] for values in (first, second))
        if before != after:
            yield f"{part}: {name} was {before}, now {after}"


def compare_losses(one: PastRun, other: PastRun) -> Compared:
    """Training losses step by step."""
    first, second = (_losses(run) for run in (one, other))
    apart = {step: abs(first[step] - second[step]) for step in sorted(first.keys() & second.keys())}
    at = max(apart, key=lambda step: apart[step], default=0)
    return Compared(len(apart), apart.get(at, 0.0), at)


def _losses(run: PastRun) -> dict[int, float]:
    return {int(entry["step"]): float(entry["loss"]) for entry in history(run) if "loss" in entry}
