"""What came of a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Outcome:
    """What came of a run. ``metrics`` are numbers with the names that users know (``train_loss``, ``eval_loss``)."""

    steps: int
    metrics: Mapping[str, float] = field(default_factory=dict)
    stopped: str = ""
    """Why it ended early ("SIGTERM", "Ctrl-C", "early stopping"), or the empty string."""

    @property
    def interrupted(self) -> bool:
        """Whether somebody stopped it from outside, so that it is not finished."""
        return self.stopped in ("SIGTERM", "Ctrl-C")
