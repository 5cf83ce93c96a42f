"""What this package offers: the optimizer ``adam-mini``, behind the key ``use_adam_mini``."""

from __future__ import annotations

from tunesmith import OptimizerSpec, Switch, hookimpl

TUNESMITH_API = (1, 0)

ADAM_MINI = OptimizerSpec(
    "adam-mini",
    "tunesmith_adam_mini.optimizer:AdamMiniOptimizer",
    "Adam with one second moment for each head or neuron (Adam-mini).",
    options="tunesmith_adam_mini.options:AdamMiniOptions",
    switch=Switch("use_adam_mini"),
    states="tunesmith_adam_mini.counting:count_states",
)


@hookimpl
def tunesmith_optimizers() -> list[OptimizerSpec]:
    """One optimizer."""
    return [ADAM_MINI]
