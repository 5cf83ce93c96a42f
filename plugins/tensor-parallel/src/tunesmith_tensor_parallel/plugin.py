"""What this package offers: the strategy ``tensor-parallel``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from tunesmith import Problem, StrategySpec, hookimpl

if TYPE_CHECKING:
    from tunesmith.plan import Plan

TUNESMITH_API = (1, 0)
NAME = "tensor-parallel"


@hookimpl
def tunesmith_strategies() -> list[StrategySpec]:
    """Picked by the key ``tp_size``."""
    return [
        StrategySpec(
            NAME,
            "tunesmith_tensor_parallel.strategy:TensorParallel",
            "Each process computes a slice of every layer, over the same rows.",
            options="tunesmith_tensor_parallel.options:TensorParallelOptions",
            when="tunesmith_tensor_parallel.choice:wanted",
            priority=20,
            shards="weights",
            together=True,
            resumes="same",
            learns="model",
        )
    ]


@hookimpl
def tunesmith_check_plan(plan: Plan) -> Iterator[Problem]:
    """What would fail after the model is loaded, or learn something else than was asked."""
    if any(chosen.name == NAME for chosen in plan.picked("strategies")):
        from tunesmith_tensor_parallel.checks import faults

        yield from faults(plan)
