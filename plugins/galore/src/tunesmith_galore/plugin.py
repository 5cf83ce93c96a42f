"""What this package offers: the optimizer ``galore``, behind the key ``use_galore``."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from typing import TYPE_CHECKING

from tunesmith import OptimizerSpec, Problem, Switch, hookimpl
from tunesmith.errors import Lacking
from tunesmith.update_checks import update_problems

if TYPE_CHECKING:
    from tunesmith.plan import Plan

TUNESMITH_API = (1, 0)

GALORE = OptimizerSpec(
    "galore",
    "tunesmith_galore.optimizer:GaloreOptimizer",
    "Adam on gradients projected to few dimensions (GaLore).",
    options="tunesmith_galore.options:GaloreOptions",
    switch=Switch("use_galore"),
    whole_weights=True,
    states="tunesmith_galore.counting:count_states",
)


@hookimpl
def tunesmith_optimizers() -> list[OptimizerSpec]:
    """One optimizer."""
    return [GALORE]


@hookimpl
def tunesmith_check_plan(plan: Plan) -> Iterator[Problem]:
    """Weights that move at once need their whole gradient at once; four bits are for one side of a gradient."""
    if not any(chosen.name == GALORE.name for chosen in plan.picked("optimizers")):
        return
    wish = plan.models.get("policy")
    if wish is not None and wish.packed:
        what = "use_galore moves plain weights: Q-GaLore's weights of 8 bits, which learn by rounding at random, are not built"
        hint = "Leave quantization_bit out; galore_quantize and galore_8bit are the rest of Q-GaLore."
        yield Problem(plan.settings["use_galore"].origin, what, hint)
    if plan["galore_layerwise"]:
        yield from update_problems(plan, "galore_layerwise")
    if plan["galore_quantize"] and plan["galore_proj_type"] == "full":
        where = plan.settings["galore_quantize"].origin
        yield Problem(where, "galore_quantize has no galore_proj_type: full", "Write galore_proj_type: std")
    if plan["galore_8bit"] and find_spec("bitsandbytes") is None:
        what = "galore_8bit needs the package bitsandbytes, which is not installed"
        yield Lacking(plan.settings["galore_8bit"].origin, what, "pip install bitsandbytes")
