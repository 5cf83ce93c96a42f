"""What this package offers: the stage ``rm``, and the command ``score``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from tunesmith import CommandSpec, Problem, TrainerSpec, hookimpl
from tunesmith.specs import POLICY

if TYPE_CHECKING:
    from tunesmith.plan import Plan

TUNESMITH_API = (1, 0)

RATER = replace(POLICY, head="score")
STAGE = TrainerSpec(
    "rm",
    "tunesmith_reward.stage:RewardStage",
    "Learn to rate answers, from pairs of a better and a worse one.",
    wants=("preference",),
    roles=(RATER,),
)
COMMAND = CommandSpec(
    "score",
    "tunesmith_reward.command:score",
    "Rate the answers of datasets with a reward model.",
    options="tunesmith_reward.options:ScoreOptions",
    section="Run",
    picks=("templates", "backends", "quantizers"),
    requires=("model_name_or_path", "dataset"),
    roles=(RATER,),
    wants=("preference", "feedback", "conversation"),
)


@hookimpl
def tunesmith_trainers() -> list[TrainerSpec]:
    """One stage."""
    return [STAGE]


@hookimpl
def tunesmith_commands() -> list[CommandSpec]:
    """One command."""
    return [COMMAND]


@hookimpl
def tunesmith_check_plan(plan: Plan) -> Iterator[Problem]:
    """What the stage cannot do, known before anything is loaded."""
    if not any(chosen.name == STAGE.name for chosen in plan.picked("trainers")):
        return
    if plan["predict_with_generate"]:
        where = plan.settings["predict_with_generate"].origin
        yield Problem(where, "predict_with_generate: a reward model rates answers and writes none", "Write do_predict: true.")
