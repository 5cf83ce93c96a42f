"""The stages ``grpo`` and ``rloo`` with fixed answers: each follows from its prompt and its number among the answers to it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tunesmith import TrainerSpec, hookimpl
from tunesmith_grpo.plugin import GRPO, RLOO
from tunesmith_grpo.stages import GrpoStage, RlooStage
from tunesmith_grpo.trainers import GrpoTrainer, RlooTrainer

TUNESMITH_API = (1, 0)
SPEC = replace(GRPO, load=f"{__name__}:FixedStage")
RLOO_SPEC = replace(RLOO, load=f"{__name__}:FixedRlooStage")
LENGTH = 6


def fixed(prompt_ids: list[list[int]], group: int) -> list[list[int]]:
    """An answer to each prompt, of which ``group`` in a row are the same one."""
    answers = []
    for at, ids in enumerate(prompt_ids):
        first = sum(ids) + 31 * (at % group)
        answers.append([5 + (first * (place + 1)) % 200 for place in range(LENGTH)])
    return answers


class FixedTrainer(GrpoTrainer):
    """Says what it is told."""

    def _generate_single_turn(self, prompt_ids: list[list[int]], images: Any, *args: Any, **kwargs: Any) -> Any:
        return fixed(prompt_ids, self.num_generations), None


class FixedRlooTrainer(RlooTrainer):
    """Says what it is told."""

    def _generate_single_turn(self, prompt_ids: list[list[int]], *args: Any, **kwargs: Any) -> Any:
        return self.as_answered(fixed(prompt_ids, self.num_generations))


class FixedStage(GrpoStage):
    """With that trainer."""

    trainer_class = FixedTrainer


class FixedRlooStage(RlooStage):
    """With that trainer."""

    trainer_class = FixedRlooTrainer


@hookimpl
def tunesmith_trainers() -> list[TrainerSpec]:
    """Two stages."""
    return [SPEC, RLOO_SPEC]
