"""What the keys of ``dpo`` cannot say together. No torch."""

from __future__ import annotations

from collections.abc import Iterator

from tunesmith import Problem
from tunesmith.plan import Plan
from tunesmith.roles import REFERENCE

from tunesmith_preference.options import KINDS, DpoOptions


def contradictions(plan: Plan) -> Iterator[Problem]:
    """Keys of ``dpo`` that do not go together."""
    options = plan.options(DpoOptions)
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
