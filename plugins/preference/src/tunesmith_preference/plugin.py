"""What this package offers: the stages ``dpo`` and ``kto``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from tunesmith import Problem, TrainerSpec, hookimpl
from tunesmith.roles import POLICY, REFERENCE

from tunesmith_preference.options import KINDS, DpoOptions, KtoOptions

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
    return any(KINDS[name].reference for name in value("pref_loss")) or bool(value("pref_bco_weight"))


ROLES = (POLICY, replace(REFERENCE, needed="tunesmith_preference.plugin:compares"))
STAGES = (
    TrainerSpec(
        "dpo",
        "tunesmith_preference.stages:DpoStage",
        "Learn which of two answers is preferred (DPO, IPO, ORPO, SimPO, …).",
        options=DpoOptions,
        wants=("preference",),
        roles=ROLES,
    ),
    TrainerSpec(
        "kto",
        "tunesmith_preference.stages:KtoStage",
        "Learn which answers were liked and which were not (KTO).",
        options=KtoOptions,
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
        yield from _contradictions(plan, plan.options(DpoOptions))
    elif not plan["kto_chosen_weight"] and not plan["kto_rejected_weight"]:
        where = plan.settings["kto_chosen_weight"].origin
        yield Problem(where, "kto_chosen_weight and kto_rejected_weight are both 0", "Give one of them a weight.")


def _contradictions(plan: Plan, options: DpoOptions) -> Iterator[Problem]:
    """Keys of ``dpo`` that do not go together."""
    names = options.pref_loss
    if not names:
        yield Problem(plan.settings["pref_loss"].origin, "pref_loss is empty", f"Name one of {', '.join(KINDS)}.")
    if options.pref_loss_weights and len(options.pref_loss_weights) != len(names):
        what = f"pref_loss_weights holds {len(options.pref_loss_weights)} weights, and pref_loss {len(names)} losses"
        yield Problem(plan.settings["pref_loss_weights"].origin, what, "Give one weight to each loss.")
    if options.dpo_label_smoothing and not any(KINDS[name].smooths for name in names):
        smoothing = ", ".join(name for name, kind in KINDS.items() if kind.smooths)
        what = f"dpo_label_smoothing has no meaning with pref_loss: {','.join(names)}"
        yield Problem(plan.settings["dpo_label_smoothing"].origin, what, f"It goes with {smoothing}.")
    if "exo_pair" in names and not options.dpo_label_smoothing:
        where = plan.settings["pref_loss"].origin
        yield Problem(where, "pref_loss: exo_pair needs doubt to compare with", "Write dpo_label_smoothing: 0.001")
    if not any(KINDS[name].reference for name in names) and not options.pref_bco_weight:
        yield from _needless(plan, names)


def _needless(plan: Plan, names: tuple[str, ...]) -> Iterator[Problem]:
    for key in (REFERENCE.model, REFERENCE.adapters, REFERENCE.bits, "precompute_ref_log_probs"):
        if plan[key]:
            what = f"{key}: pref_loss: {','.join(names)} compares with no reference model"
            yield Problem(plan.settings[key].origin, what, "Leave it out.")
