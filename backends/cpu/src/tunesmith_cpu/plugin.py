"""What this package offers: the backend ``cpu``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from tunesmith import BackendSpec, hookimpl
from tunesmith.errors import Notice, Problem

if TYPE_CHECKING:
    from tunesmith.plan import Plan

TUNESMITH_API = (1, 0)


@hookimpl
def tunesmith_backends() -> list[BackendSpec]:
    """It is always here, and comes last when a device is looked for."""
    return [
        BackendSpec(
            "cpu",
            "tunesmith_cpu.backend:CpuBackend",
            "The processor: float32, or bfloat16 where asked for.",
            probe="tunesmith_cpu.probe:probe",
            preflight="tunesmith_cpu.preflight:preflight",
            priority=0,
            device="cpu",
            dtypes=("float32", "bfloat16"),
            attention=("sdpa", "eager"),
            attention_to_infer=("flex_attention",),  # torch has no backward pass for it here
            process_group="gloo",
            environment={"DS_ACCELERATOR": "cpu"},  # deepspeed would guess, and say so on standard output
        )
    ]


@hookimpl
def tunesmith_check_plan(plan: Plan) -> Iterator[Problem | Notice]:
    """Where bfloat16 is asked for, and this processor has to emulate it."""
    if "cpu" in {chosen.name for chosen in plan.picked("backends")}:
        from tunesmith_cpu.processor import bfloat16_by

        if any(plan[key] for key in ("bf16", "pure_bf16") if key in plan.settings) and not bfloat16_by():
            yield Notice("bf16: this processor emulates bfloat16, which is right and slower than float32")
