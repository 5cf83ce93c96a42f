"""What this package offers: the optimizers that ``optim: lomo`` and ``optim: adalomo`` name."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from tunesmith import OptimizerSpec, Problem, Switch, hookimpl
from tunesmith.update_checks import update_problems

if TYPE_CHECKING:
    from tunesmith.plan import Plan

TUNESMITH_API = (1, 0)

LOMO = OptimizerSpec(
    "lomo",
    "tunesmith_lomo.optimizer:LomoOptimizer",
    "Gradient descent within the backward pass, keeping nothing (LOMO).",
    options="tunesmith_lomo.options:LomoOptions",
    switch=Switch("optim", "lomo"),
    states="tunesmith_lomo.counting:no_states",
)
ADALOMO = OptimizerSpec(
    "adalomo",
    "tunesmith_lomo.optimizer:AdaLomoOptimizer",
    "LOMO with a rate for each row and column (AdaLomo).",
    options="tunesmith_lomo.options:LomoOptions",
    switch=Switch("optim", "adalomo"),
    states="tunesmith_lomo.counting:factored_states",
)


@hookimpl
def tunesmith_optimizers() -> list[OptimizerSpec]:
    """Two optimizers."""
    return [LOMO, ADALOMO]


@hookimpl
def tunesmith_check_plan(plan: Plan) -> Iterator[Problem]:
    """Weights that move at once need their whole gradient at once."""
    for chosen in plan.picked("optimizers"):
        if chosen.name in (LOMO.name, ADALOMO.name):
            yield from update_problems(plan, f"optim: {chosen.name}")
