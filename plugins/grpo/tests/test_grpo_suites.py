"""That the stages learn, resume exactly, and take the same steps whatever way answers are split."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest
from tunesmith.testing import TrainerSuite
from tunesmith.testing.small_run import small_model
from tunesmith.testing.tiny_models import tiny_llama
from tunesmith_grpo.plugin import DISTILL, DRAWN, GRPO, RLOO

HERE = str(Path(__file__).parent)
sys.path.insert(0, HERE)  # where the fixed answers are, for processes that are started too
from fixed_rollouts import RLOO_SPEC, SPEC  # noqa: E402

KEYS: dict[str, Any] = {**DRAWN, "do_sample": True, "max_new_tokens": 4, "reward_funcs": ("variety",), "num_generations": 2}


class TestGrpo(TrainerSuite):
    """Answers are drawn."""

    spec = GRPO
    plugin = "tunesmith_grpo.plugin"
    keys: ClassVar[Mapping[str, Any]] = {**KEYS, "beta": 0.01, "reward_weights": (-1.0,)}
    gains = ("reward", 0.1)
    times = 2
    test_losses_do_not_depend_on_how_a_batch_is_split = None  # type: ignore[assignment]  # other answers would be drawn
    test_losses_do_not_depend_on_how_many_processes_there_are = None  # type: ignore[assignment]


class TestRloo(TestGrpo):
    """Likewise."""

    spec = RLOO


class TestGrpoFixed(TrainerSuite):
    """Answers are fixed."""

    spec = SPEC
    plugin = "fixed_rollouts"
    keys: ClassVar[Mapping[str, Any]] = {**KEYS, "beta": 0.1, "disable_shuffling": True}
    times = 2
    test_it_learns_a_tiny_set = None  # type: ignore[assignment]  # what is said does not change
    test_the_outcome_tells_steps_and_loss = test_a_resumed_run_repeats_the_losses_exactly = None  # type: ignore[assignment]


class TestRlooFixed(TestGrpoFixed):
    """Likewise."""

    spec = RLOO_SPEC


class TestDistill(TrainerSuite):
    """The likeliest answers, which do not depend on batches, and a teacher with other weights."""

    spec = DISTILL
    plugin = "tunesmith_grpo.plugin"
    keys: ClassVar[Mapping[str, Any]] = {**DRAWN, "max_new_tokens": 4, "do_sample": False, "learning_rate": 1e-3}

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def teacher(cls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
        """Somebody who knows better."""
        folder = small_model(tmp_path_factory.mktemp("teacher"))
        ids = {"bos_token_id": 400, "eos_token_id": 403, "pad_token_id": 401}
        tiny_llama(seed=1, vocab_size=512, **ids).save_pretrained(folder)
        before, cls.keys = cls.keys, {**cls.keys, "teacher_model": str(folder)}
        yield
        cls.keys = before
