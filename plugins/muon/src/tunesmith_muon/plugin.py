"""What this package offers: the optimizer ``muon``, behind the key ``use_muon``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from tunesmith import OptimizerSpec, Problem, Switch, hookimpl

if TYPE_CHECKING:
    from tunesmith.plan import Plan

TUNESMITH_API = (1, 0)

MUON = OptimizerSpec(
    "muon",
    "tunesmith_muon.optimizer:MuonOptimizer",
    "Orthogonalised momentum for matrices, AdamW for the rest (Muon).",
    options="tunesmith_muon.options:MuonOptions",
    switch=Switch("use_muon"),
    states="tunesmith_muon.counting:count_states",
)


@hookimpl
def tunesmith_optimizers() -> list[OptimizerSpec]:
    """One optimizer."""
    return [MUON]


@hookimpl
def tunesmith_check_plan(plan: Plan) -> Iterator[Problem]:
    """A matrix must be whole to be orthogonalised."""
    if not any(chosen.name == MUON.name for chosen in plan.picked("optimizers")):
        return
    for key in ("deepspeed", "fsdp"):
        setting = plan.settings.get(key)
        if setting is not None and setting.given and setting.value:
            what = f"use_muon orthogonalises whole matrices, and {key} cuts them into pieces"
            yield Problem(setting.origin, what, f"Leave {key} out, or use another optimizer.")
