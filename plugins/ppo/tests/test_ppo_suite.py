"""That the stage learns, whatever way a batch is split, and resumes exactly."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from tunesmith.testing import TrainerSuite
from tunesmith_ppo.plugin import STAGE

#: Likeliest answers teach values alone.
VALUE = {"ppo_value_weight": 1.0}


class TestPpo(TrainerSuite):
    """Trains a model of two layers, whose likeliest answers are rated, so that rollouts do not depend on batches."""

    spec = STAGE
    plugin = "tunesmith_ppo.plugin"
    keys: ClassVar[Mapping[str, Any]] = {"reward_funcs": ("variety",), "ppo_epochs": 1, "learning_rate": 1e-3, **VALUE}
    falls_to = 0.8


class TestPpoFromBuffers(TestPpo):
    """Several updates to a buffer, so that checkpoints fall in the middle of one."""

    keys: ClassVar[Mapping[str, Any]] = {
        **TestPpo.keys,
        "ppo_epochs": 2,
        "do_sample": True,
        "ppo_score_norm": True,
        "ppo_whiten_rewards": True,
    }
    test_it_learns_a_tiny_set = test_the_outcome_tells_steps_and_loss = None  # type: ignore[assignment]
    test_losses_do_not_depend_on_how_a_batch_is_split = None  # type: ignore[assignment]
    test_losses_do_not_depend_on_how_many_processes_there_are = None  # type: ignore[assignment]
