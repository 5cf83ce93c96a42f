"""What this package offers: the stages ``dpo`` and ``kto``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from tunesmith import Problem, TrainerSpec, hookimpl
from tunesmith.roles import POLICY, REFERENCE

if TYPE_CHECKING:
    from tunesmith.plan import Plan

TUNESMITH_API = (1, 0)


def compares(value: Callable[[str], Any]) -> bool:
    """Whether the stage has a reference model in memory: not where its loss has none, nor where its answers are kept.

    The model itself, as it starts, is asked where what is kept is its own.
    """
    named = any(value(key) for key in (REFERENCE.model, REFERENCE.adapters, REFERENCE.bits))
    if value("precompute_ref_log_probs") and not named:
        return False
    if value("stage") != "dpo":
        return True
    from tunesmith_preference.options import KINDS

    return any(KINDS[name].reference for name in value("pref_loss")) or bool(value("pref_bco_weight"))


ROLES = (POLICY, replace(REFERENCE, needed="tunesmith_preference.plugin:compares"))
STAGES = (
    TrainerSpec(
        "dpo",
        "tunesmith_preference.stages:DpoStage",
        "Learn which of two answers is preferred (DPO, IPO, ORPO, SimPO, …).",
        options="tunesmith_preference.options:DpoOptions",
        wants=("preference",),
        roles=ROLES,
    ),
    TrainerSpec(
        "kto",
        "tunesmith_preference.stages:KtoStage",
        "Learn which answers were liked and which were not (KTO).",
        options="tunesmith_preference.options:KtoOptions",
        wants=("feedback",),
        roles=ROLES,
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
    stage = next((chosen.name for chosen in plan.picked("trainers") if chosen.name in NAMES), None)
    if stage is None:
        return
    for key in ("do_predict", "predict_with_generate"):
        if plan[key]:
            yield Problem(plan.settings[key].origin, f"{key}: the stage {stage} answers no prompts", "Use do_eval: true.")
    if plan["precompute_ref_log_probs"] and plan["streaming"]:
        where, what = plan.settings["precompute_ref_log_probs"].origin, "a stream cannot be read before it is learned from"
        yield Problem(where, f"precompute_ref_log_probs: {what}", "Write streaming: false")
    if stage == "dpo":
        from tunesmith_preference.checks import contradictions

        yield from contradictions(plan)
    elif not plan["kto_chosen_weight"] and not plan["kto_rejected_weight"]:
        where = plan.settings["kto_chosen_weight"].origin
        yield Problem(where, "kto_chosen_weight and kto_rejected_weight are both 0", "Give one of them a weight.")
