"""What this package offers: the stages ``sft`` and ``pt``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from tunesmith import Problem, TrainerSpec, hookimpl
from tunesmith.roles import POLICY, REFERENCE

if TYPE_CHECKING:
    from tunesmith.plan import Plan

TUNESMITH_API = (1, 0)


def anchors(value: Callable[[str], Any]) -> bool:
    """Whether the loss holds the model near a reference."""
    return value("stage") == "sft" and bool(value("use_asft_loss"))


STAGES = (
    TrainerSpec(
        "sft",
        "tunesmith_sft.stages:SftStage",
        "Learn the answers of conversations.",
        options="tunesmith_sft.options:SftOptions",
        wants=("conversation",),
        roles=(POLICY, replace(REFERENCE, needed="tunesmith_sft.plugin:anchors")),
        router_loss=True,
    ),
    TrainerSpec(
        "pt",
        "tunesmith_sft.stages:PtStage",
        "Learn all of plain text.",
        wants=("document",),
        defaults={"packing": True},
        router_loss=True,
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
    if plan["stage"] == "sft":
        yield from _losses(plan)


def _losses(plan: Plan) -> Iterator[Problem]:
    """Losses that do not go together, and keys of one that is not on."""
    from tunesmith_sft.options import OTHER_LOSSES

    on = [key for key in OTHER_LOSSES if plan[key]]
    if len(on) > 1:
        yield Problem(plan.settings[on[1]].origin, f"{' and '.join(on)} are different losses", "Keep one of them.")
    if on and plan["label_smoothing_factor"]:
        where = plan.settings["label_smoothing_factor"].origin
        yield Problem(where, f"label_smoothing_factor has no meaning with {on[0]}", "Leave it out.")
    for key, needed in (("eaft_alpha", "use_eaft_loss"), ("asft_alpha", "use_asft_loss"), *_reference_keys()):
        if plan.settings[key].given and not plan[needed]:
            yield Problem(plan.settings[key].origin, f"{key} has no meaning without {needed}", f"Write {needed}: true too.")


def _reference_keys() -> Iterator[tuple[str, str]]:
    return ((key, "use_asft_loss") for key in (REFERENCE.model, REFERENCE.adapters, REFERENCE.bits))
