"""What this package offers: the optimizer ``badam``, behind the key ``use_badam``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from tunesmith import OptimizerSpec, Problem, Switch, hookimpl

if TYPE_CHECKING:
    from tunesmith.plan import Plan

TUNESMITH_API = (1, 0)

BADAM = OptimizerSpec(
    "badam",
    "tunesmith_badam.optimizer:BadamOptimizer",
    "Adam on one layer, or a share of all weights, at a time (BAdam).",
    options="tunesmith_badam.options:BadamOptions",
    switch=Switch("use_badam"),
    whole_weights=True,
    states="tunesmith_badam.counting:count_states",
)


@hookimpl
def tunesmith_optimizers() -> list[OptimizerSpec]:
    """One optimizer."""
    return [BADAM]


@hookimpl
def tunesmith_check_plan(plan: Plan) -> Iterator[Problem]:
    """Weights that are cut into pieces have no layers that could take turns, and no shares that all processes agree on."""
    if not any(chosen.name == BADAM.name for chosen in plan.picked("optimizers")):
        return
    for key in ("deepspeed", "fsdp"):
        setting = plan.settings.get(key)
        if setting is not None and setting.given and setting.value:
            what = f"use_badam changes which weights learn, and {key} has settled that before the first step"
            yield Problem(setting.origin, what, f"Leave {key} out, or use another optimizer.")
    if plan["badam_mode"] == "ratio":
        yield from _only_by_layers(plan)


def _only_by_layers(plan: Plan) -> Iterator[Problem]:
    for key in ("badam_start_block", "badam_switch_mode"):
        if plan.settings[key].given:
            yield Problem(plan.settings[key].origin, f"{key} is about layers, and badam_mode is ratio", f"Leave {key} out.")
