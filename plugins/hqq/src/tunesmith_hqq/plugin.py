"""What this package offers: the quantizer ``hqq``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from tunesmith import Problem, QuantizerSpec, hookimpl

if TYPE_CHECKING:
    from tunesmith.plan import Plan

TUNESMITH_API = (1, 0)

SPEC = QuantizerSpec(
    "hqq",
    "tunesmith_hqq.quantizer:HqqQuantizer",
    "One to eight bits, without calibration (HQQ).",
    options="tunesmith_hqq.options:HqqOptions",
    needs=("hqq",),
    bits=(1, 2, 3, 4, 8),
    # Scale and zero in half precision for every 64 weights; ten weights of three bits share 32.
    stores={1: 1.5, 2: 2.5, 3: 3.7, 4: 4.5, 8: 8.5},
    layers="own",
)


@hookimpl
def tunesmith_quantizers() -> list[QuantizerSpec]:
    """One quantizer."""
    return [SPEC]


@hookimpl
def tunesmith_check_plan(plan: Plan) -> Iterator[Problem]:
    """Group sizes that hqq does not have."""
    if any(wish.quantizer.startswith(f"{SPEC.name}@") for wish in plan.models.values()):
        setting = plan.settings["hqq_group_size"]
        if setting.value % 8:
            yield Problem(setting.origin, "hqq has no groups of that size", "Write a multiple of 8.")
