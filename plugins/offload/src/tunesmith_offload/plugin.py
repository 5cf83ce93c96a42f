"""What this package offers: the accelerator ``offload``, behind the key that users know as ``use_unsloth_gc``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from tunesmith import AcceleratorSpec, Problem, Switch, hookimpl

if TYPE_CHECKING:
    from tunesmith.plan import Plan

TUNESMITH_API = (1, 0)

#: Keys that turn gradient checkpointing off, and the value that does it.
CONTRARY = {"disable_gradient_checkpointing": True, "activation_checkpointing": False, "gradient_checkpointing": False}


@hookimpl
def tunesmith_accelerators() -> list[AcceleratorSpec]:
    """It works on every backend; on a CPU, where activations are in CPU memory already, it moves nothing."""
    return [
        AcceleratorSpec(
            "offload",
            "tunesmith_offload.accelerator:OffloadAccelerator",
            "Checkpointed activations wait in CPU memory.",
            options="tunesmith_offload.options:OffloadOptions",
            switch=Switch("use_unsloth_gc"),
            order=80,
        )
    ]


@hookimpl
def tunesmith_check_plan(plan: Plan) -> Iterator[Problem]:
    """Without gradient checkpointing there is nothing to offload."""
    if any(chosen.name == "offload" for chosen in plan.picked("accelerators")):
        for key, value in CONTRARY.items():
            setting = plan.settings.get(key)
            if setting is not None and setting.given and setting.value is value:
                what = f"use_unsloth_gc needs gradient checkpointing, and {key} is {str(value).lower()}"
                yield Problem(setting.origin, what, f"Leave {key} out, or use_unsloth_gc.")
