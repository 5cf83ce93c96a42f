"""What this package offers: the accelerators ``liger`` and ``liger-preference``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from tunesmith import AcceleratorSpec, Problem, Switch, hookimpl

from tunesmith_liger.options import LigerOptions, LigerPreferenceOptions

if TYPE_CHECKING:
    from tunesmith.plan import Plan

TUNESMITH_API = (1, 0)

#: Losses of one pair that Liger computes as the papers say; under ``pairs:`` a stage finds them.
PAIR_LOSSES = ("sigmoid", "hinge", "nca_pair", "sppo_hard", "apo_zero", "apo_down")

KERNELS = AcceleratorSpec(
    "liger",
    "tunesmith_liger.kernels:LigerKernels",
    "Liger's fused kernels, put into this model.",
    options=LigerOptions,
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
    options=LigerPreferenceOptions,
    needs=("liger_kernel",),
    switch=Switch("liger_preference_loss"),
    order=90,
    losses=tuple(f"pairs:{name}" for name in PAIR_LOSSES),
)


@hookimpl
def tunesmith_accelerators() -> list[AcceleratorSpec]:
    """The kernels want Triton; the losses are plain torch and run everywhere."""
    return [KERNELS, PREFERENCE]


@hookimpl
def tunesmith_check_plan(plan: Plan) -> Iterator[Problem]:
    """The model is one that Liger knows, and has the kernels that were named."""
    if any(chosen.name == KERNELS.name for chosen in plan.picked("accelerators")):
        from tunesmith_liger.known import model_problems

        yield from model_problems(plan)
