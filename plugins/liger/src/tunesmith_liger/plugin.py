"""What this package offers: the accelerators ``liger`` and ``liger-preference``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from tunesmith import AcceleratorSpec, Problem, Switch, hookimpl

if TYPE_CHECKING:
    from tunesmith.plan import Plan

TUNESMITH_API = (1, 0)

#: Losses of one pair that Liger computes as the papers say; under ``pairs:`` a stage finds them.
PAIR_LOSSES = ("sigmoid", "hinge", "nca_pair", "sppo_hard", "apo_zero", "apo_down")

KERNELS = AcceleratorSpec(
    "liger",
    "tunesmith_liger.kernels:LigerKernels",
    "Liger's fused kernels, put into this model.",
    options="tunesmith_liger.options:LigerOptions",
    needs=("liger_kernel", "triton"),
    switch=Switch("enable_liger_kernel"),
    order=40,
    kernels=("triton",),
    elsewhere="What of it is plain torch: liger_preference_loss. For the memory of logits: chunked_cross_entropy.",
)
PREFERENCE = AcceleratorSpec(
    "liger-preference",
    "tunesmith_liger.preference:LigerPreference",
    "Losses of preferences by Liger, one pair's logits at a time.",
    options="tunesmith_liger.options:LigerPreferenceOptions",
    needs=("liger_kernel",),
    switch=Switch("liger_preference_loss"),
    order=90,
    losses=tuple(f"pairs:{name}" for name in PAIR_LOSSES),
)


@hookimpl
def tunesmith_accelerators() -> list[AcceleratorSpec]:
    """The kernels want Triton; the losses are plain torch and run everywhere."""
    return [KERNELS, PREFERENCE]


#: Keys that change a loss of pairs in ways that Liger has not, and what they are when they do not.
CHANGES = {"dpo_label_smoothing": 0, "pref_bco_weight": 0, "pref_ftx": 0, "pref_loss_weights": (), "ld_alpha": None}


@hookimpl
def tunesmith_check_plan(plan: Plan) -> Iterator[Problem]:
    """The model is one that Liger knows, and has the kernels that were named; so with the loss."""
    picked = {chosen.name for chosen in plan.picked("accelerators")}
    if PREFERENCE.name in picked:
        yield from _loss_problems(plan)
    if KERNELS.name in picked:
        from tunesmith_liger.known import model_problems

        yield from model_problems(plan)


def _loss_problems(plan: Plan) -> Iterator[Problem]:
    where, asked = plan.settings["liger_preference_loss"].origin, plan.settings.get("pref_loss")
    if asked is None:
        yield Problem(where, f"liger_preference_loss: the stage {plan['stage']} learns no pairs", "Leave it out.")
    elif len(asked.value) != 1 or asked.value[0] not in PAIR_LOSSES:
        what = f"liger_preference_loss: Liger has no {' with '.join(asked.value)}"
        yield Problem(where, what, f"It has {', '.join(PAIR_LOSSES)}, one at a time.")
    for key, off in CHANGES.items():
        setting = plan.settings.get(key)
        if setting is not None and setting.value not in (off, None):
            yield Problem(setting.origin, f"{key} has no part in Liger's losses", f"Leave {key} out, or liger_preference_loss.")
