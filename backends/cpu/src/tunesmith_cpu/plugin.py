"""What this package offers: the backend ``cpu``."""

from __future__ import annotations

from tunesmith import BackendSpec, hookimpl

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
            priority=0,
            device="cpu",
            dtypes=("float32", "bfloat16"),
            attention=("sdpa", "eager"),
            attention_to_infer=("flex_attention",),  # torch has no backward pass for it here
            process_group="gloo",
            environment={"DS_ACCELERATOR": "cpu"},  # deepspeed would guess, and say so on standard output
        )
    ]
