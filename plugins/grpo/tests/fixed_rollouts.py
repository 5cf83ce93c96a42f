"""The stages ``grpo`` and ``rloo`` with fixed answers: each follows from its prompt and its number among the answers to it.

Where the run has tools, answers with an odd sum of ids call one, once, and go on.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tunesmith import ToolSpec, TrainerSpec, hookimpl
from tunesmith.data.conversation import Call, Text, Turn
from tunesmith_grpo.plugin import CALCULATOR, GRPO, RLOO
from tunesmith_grpo.stages import GrpoStage, RlooStage
from tunesmith_grpo.tool_use import Episode, ToolUse
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


class FixedUse(ToolUse):
    """Reads calls from ids, since the template of these tests has no words for them."""

    def _heard(self, episode: Episode, ids: list[int], logprobs: list[float] | None) -> None:
        episode.add(ids, logprobs, 1)
        self._stops = self._stops | {ids[-1]}
        calls = not episode.turns and sum(ids) % 2
        part = Call("calculator", {"expression": "1 + 1"}) if calls else Text(str(ids))
        episode.turns.append(Turn("assistant", (part,)))

    def _between(self, *args: Any) -> list[int]:
        return [7, 8, 9]


class FixedTrainer(GrpoTrainer):
    """Says what it is told."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.asked = 0
        if self.tool_use is not None:
            self.tool_use = FixedUse(self.session, None)

    def _generate_single_turn(self, prompt_ids: list[list[int]], *args: Any, num_generations: int = 0, **kwargs: Any) -> Any:
        self.asked += 1
        return fixed(prompt_ids, num_generations or self.num_generations), None


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
def tunesmith_tools() -> list[ToolSpec]:
    """One tool."""
    return [CALCULATOR]


@hookimpl
def tunesmith_trainers() -> list[TrainerSpec]:
    """Two stages."""
    return [SPEC, RLOO_SPEC]
