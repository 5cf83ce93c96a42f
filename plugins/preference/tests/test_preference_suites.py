"""Both stages learn, whatever way a batch is split, and resume exactly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from tunesmith.testing.small_run import small_rows
from tunesmith.testing.trainer_suite import TrainerSuite
from tunesmith_preference.plugin import STAGES


class TestDpo(TrainerSuite):
    """Pairs."""

    spec = STAGES[0]
    plugin = "tunesmith_preference.plugin"
    keys: ClassVar[dict[str, Any]] = {"learning_rate": 1e-3}


class TestKto(TrainerSuite):
    """Answers that were liked, and others."""

    spec = STAGES[1]
    plugin = "tunesmith_preference.plugin"
    keys: ClassVar[dict[str, Any]] = {"learning_rate": 1e-3, "pref_beta": 0.5}

    def rows(self, count: int) -> Sequence[Mapping[str, Any]]:
        """Every third answer was liked."""
        return [{**row, "desirable": number % 3 == 0} for number, row in enumerate(small_rows(count))]
