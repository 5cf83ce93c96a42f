"""What fp8 training cannot do, found while planning."""

from __future__ import annotations

from collections.abc import Iterator

from tunesmith import Problem
from tunesmith.plan import Plan

BACKENDS = ("auto", "torchao")


def problems(plan: Plan) -> Iterator[Problem]:
    """Other libraries, weights that are no plain ones, weights that are shared out, and runs that learn nothing."""
    where = plan.settings["fp8"].origin
    if plan["fp8_backend"] not in BACKENDS:
        what = f"fp8_backend: {plan['fp8_backend']}: FP8 is computed by torchao here, and by no other library"
        yield Problem(plan.settings["fp8_backend"].origin, what, "Write fp8_backend: torchao.")
    if any(wish.quantizer for wish in plan.models.values()):
        what = "fp8 rounds plain weights for each product, and these are quantised already"
        yield Problem(where, what, "Leave out fp8, or the quantisation.")
    if plan.spread.shards == "weights":
        what = "fp8 is not built over weights that processes share out"
        yield Problem(where, what, "Let each process hold the weights: ZeRO at stage 2, or no fsdp.")
