"""What this package offers: the stages ``sft`` and ``pt``."""

from __future__ import annotations

from collections.abc import Iterator

from tunesmith import Problem, TrainerSpec, hookimpl
from tunesmith.plan import Plan

TUNESMITH_API = (1, 0)

STAGES = (
    TrainerSpec("sft", "tunesmith_sft.stages:SftStage", "Learn the answers of conversations.", wants=("conversation",)),
    TrainerSpec(
        "pt",
        "tunesmith_sft.stages:PtStage",
        "Learn all of plain text.",
        wants=("document",),
        defaults={"packing": True},
    ),
)
NAMES = frozenset(stage.name for stage in STAGES)


@hookimpl
def tunesmith_trainers() -> list[TrainerSpec]:
    """Both stages."""
    return list(STAGES)


@hookimpl
def tunesmith_check_plan(plan: Plan) -> Iterator[Problem]:
    """What neither stage can do, known before anything is loaded."""
    if not any(chosen.name in NAMES for chosen in plan.picked("trainers")):
        return
    if plan["early_stopping_steps"] and plan["eval_strategy"] == "no":
        where = plan.settings["early_stopping_steps"].origin
        yield Problem(where, "early_stopping_steps needs evaluations while training", "Write eval_strategy: steps or epoch.")
    if not plan["do_predict"]:
        return
    if plan["stage"] == "pt":
        yield Problem(plan.settings["do_predict"].origin, "plain text has no prompts to answer", "Use do_eval: true.")
    if plan["train_on_prompt"]:
        where = plan.settings["train_on_prompt"].origin
        yield Problem(
            where, "do_predict cannot tell prompts from answers when both are learned", "Write train_on_prompt: false."
        )
