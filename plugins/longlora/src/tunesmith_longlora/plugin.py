"""What this package offers: the accelerator ``longlora``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from tunesmith import AcceleratorSpec, Problem, Switch, hookimpl

if TYPE_CHECKING:
    from tunesmith.plan import Plan

TUNESMITH_API = (1, 0)

ACCELERATOR = AcceleratorSpec(
    "longlora",
    "tunesmith_longlora.accelerator:ShiftedGroups",
    "LongLoRA: while a model learns, it attends within shifted groups.",
    options="tunesmith_longlora.options:LongLoraOptions",
    switch=Switch("shift_attn"),
    order=30,
    excludes=("fa2", "fa3", "flex", "unsloth"),
)


@hookimpl
def tunesmith_accelerators() -> list[AcceleratorSpec]:
    """It is pure torch and works on every backend."""
    return [ACCELERATOR]


@hookimpl
def tunesmith_check_plan(plan: Plan) -> Iterator[Problem]:
    """Rows are whole texts that are learned as they stand, by a model that sees all of them."""
    if any(chosen.name == ACCELERATOR.name for chosen in plan.picked("accelerators")):
        from tunesmith_longlora.checks import problems

        yield from problems(plan)
