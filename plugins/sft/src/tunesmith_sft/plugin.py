"""What this package offers: the stages ``sft`` and ``pt``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from tunesmith import Problem, TrainerSpec, hookimpl

if TYPE_CHECKING:
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
    for key in ("do_predict", "predict_with_generate"):
        if not plan[key]:
            continue
        if plan["stage"] == "pt":
            yield Problem(plan.settings[key].origin, f"{key}: plain text has no prompts to answer", "Use do_eval: true.")
        elif plan["train_on_prompt"]:
            where = plan.settings["train_on_prompt"].origin
            what = f"{key} cannot tell prompts from answers when both are learned"
            yield Problem(where, what, "Write train_on_prompt: false.")
