"""Both stages pass the suite for stages."""

from __future__ import annotations

from typing import Any, ClassVar

from tunesmith.testing.trainer_suite import TrainerSuite
from tunesmith_sft.plugin import STAGES


class TestSft(TrainerSuite):
    """Conversations."""

    spec = STAGES[0]
    plugin = "tunesmith_sft.plugin"


class TestPt(TrainerSuite):
    """Documents."""

    spec = STAGES[1]
    plugin = "tunesmith_sft.plugin"
    keys: ClassVar[dict[str, Any]] = {"template": None}
