"""The stage ``grpo`` with answers that are fixed: each follows from its prompt and its number among the answers to it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tunesmith import TrainerSpec, hookimpl
from tunesmith_grpo.plugin import GRPO
from tunesmith_grpo.stages import GrpoStage
from tunesmith_grpo.trainers import GrpoTrainer

TUNESMITH_API = (1, 0)
SPEC = replace(GRPO, load=f"{__name__}:FixedStage")
LENGTH = 6


class FixedTrainer(GrpoTrainer):
    """Says what it is told."""

    def _generate_single_turn(self, prompt_ids: list[list[int]], images: Any, *args: Any, **kwargs: Any) -> Any:
        answers = []
        for at, ids in enumerate(prompt_ids):
            first = sum(ids) + 31 * (at % self.num_generations)
            answers.append([5 + (first * (place + 1)) % 200 for place in range(LENGTH)])
        return answers, None


class FixedStage(GrpoStage):
    """With that trainer."""

    trainer_class = FixedTrainer


@hookimpl
def tunesmith_trainers() -> list[TrainerSpec]:
    """One stage."""
    return [SPEC]
