"""What this package offers: the optimizer ``apollo``, behind the key ``use_apollo``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from tunesmith import OptimizerSpec, Problem, Switch, hookimpl
from tunesmith.update_checks import update_problems

if TYPE_CHECKING:
    from tunesmith.plan import Plan

TUNESMITH_API = (1, 0)

APOLLO = OptimizerSpec(
    "apollo",
    "tunesmith_apollo.optimizer:ApolloOptimizer",
    "Gradients scaled as Adam in few dimensions would (APOLLO).",
    options="tunesmith_apollo.options:ApolloOptions",
    switch=Switch("use_apollo"),
    whole_weights=True,
    states="tunesmith_apollo.counting:count_states",
)


@hookimpl
def tunesmith_optimizers() -> list[OptimizerSpec]:
    """One optimizer."""
    return [APOLLO]


@hookimpl
def tunesmith_check_plan(plan: Plan) -> Iterator[Problem]:
    """Weights that move at once need their whole gradient at once."""
    if any(chosen.name == APOLLO.name for chosen in plan.picked("optimizers")) and plan["apollo_layerwise"]:
        yield from update_problems(plan, "apollo_layerwise")
