"""What this package offers: the backend ``mps``."""

from __future__ import annotations

from tunesmith import BackendSpec, hookimpl

TUNESMITH_API = (1, 0)

MPS = BackendSpec(
    "mps",
    "tunesmith_mps.backend:MpsBackend",
    "The graphics processor of Apple silicon (Metal).",
    probe="tunesmith_mps.machine:probe",
    preflight="tunesmith_mps.machine:preflight",
    priority=80,
    device="mps",
    dtypes=("bfloat16", "float16", "float32"),
    attention=("sdpa", "eager"),
    process_group="gloo",
    environment={"DS_ACCELERATOR": "mps"},  # deepspeed would guess
)


@hookimpl
def tunesmith_backends() -> list[BackendSpec]:
    """One device, whose memory is that of the machine."""
    return [MPS]
