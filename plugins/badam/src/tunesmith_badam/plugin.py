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
    strategies=("deepspeed",),
    states="tunesmith_badam.counting:count_states",
)


@hookimpl
def tunesmith_optimizers() -> list[OptimizerSpec]:
    """One optimizer."""
    return [BADAM]


@hookimpl
def tunesmith_check_plan(plan: Plan) -> Iterator[Problem]:
    """Shares want whole weights; layers want one process, or ZeRO at stage 3, which can do without gradients."""
    if not any(chosen.name == BADAM.name for chosen in plan.picked("optimizers")):
        return
    where = plan.settings["badam_mode"].origin
    if plan["badam_mode"] == "ratio":
        if plan.spread.shards != "nothing":
            what = "badam_mode: ratio looks at whole weights, and no process of this run holds them"
            yield Problem(where, what, "Write badam_mode: layer, with ZeRO at stage 3.")
        yield from _only_by_layers(plan)
    elif plan.spread.shards == "optimizer" or (plan.spread.shards == "nothing" and plan.spread.processes > 1):
        what = "badam_mode: layer changes which gradients processes share, which only ZeRO at stage 3 can do"
        yield Problem(where, what, "Write deepspeed with stage: 3, train in one process, or write badam_mode: ratio.")


def _only_by_layers(plan: Plan) -> Iterator[Problem]:
    for key in ("badam_start_block", "badam_switch_mode"):
        if plan.settings[key].given:
            yield Problem(plan.settings[key].origin, f"{key} is about layers, and badam_mode is ratio", f"Leave {key} out.")
