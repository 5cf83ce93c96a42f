"""That the stage learns, whatever way a batch is split, and resumes exactly."""

from __future__ import annotations

from tunesmith.testing.trainer_suite import TrainerSuite
from tunesmith_reward.plugin import STAGE


class TestReward(TrainerSuite):
    """Trains a model of two layers."""

    spec = STAGE
    plugin = "tunesmith_reward.plugin"
