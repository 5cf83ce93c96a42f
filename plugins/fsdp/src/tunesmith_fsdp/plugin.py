"""What this package offers: the strategy ``fsdp``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from tunesmith import Problem, StrategySpec, hookimpl

if TYPE_CHECKING:
    from tunesmith.plan import Plan

TUNESMITH_API = (1, 0)


@hookimpl
def tunesmith_strategies() -> list[StrategySpec]:
    """Picked by the key ``fsdp``, or because ``accelerate launch`` was told to use it."""
    return [
        StrategySpec(
            "fsdp",
            "tunesmith_fsdp.strategy:Fsdp",
            "FSDP2: weights, gradients and optimizer in parts, gathered layer by layer.",
            options="tunesmith_fsdp.options:FsdpOptions",
            when="tunesmith_fsdp.choice:wanted",
            priority=20,
            shards="weights",
            together=True,
            resumes="same",
            notices="tunesmith_fsdp.choice:notices",
        )
    ]


@hookimpl
def tunesmith_check_plan(plan: Plan) -> Iterator[Problem]:
    """What would fail after the model is loaded, or be passed over in silence."""
    from tunesmith_fsdp.checks import faults, sizes_nobody_uses

    if any(chosen.name == "fsdp" for chosen in plan.picked("strategies")):
        yield from faults(plan)
    else:
        yield from sizes_nobody_uses(plan)
