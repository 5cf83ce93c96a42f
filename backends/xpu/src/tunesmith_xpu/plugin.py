"""What this package offers: the backend ``xpu``."""

from __future__ import annotations

from tunesmith import BackendSpec, hookimpl

TUNESMITH_API = (1, 0)

XPU = BackendSpec(
    "xpu",
    "tunesmith_xpu.backend:XpuBackend",
    "Graphics processors of Intel.",
    probe="tunesmith_xpu.machine:probe",
    preflight="tunesmith_xpu.machine:preflight",
    priority=85,
    device="xpu",
    visible_devices="ZE_AFFINITY_MASK",
    dtypes=("bfloat16", "float16", "float32"),
    attention=("sdpa", "eager", "flex_attention"),
    kernels=("triton",),
    process_group="xccl",
    environment={"DS_ACCELERATOR": "xpu"},  # deepspeed would guess
)


@hookimpl
def tunesmith_backends() -> list[BackendSpec]:
    """Arc and Data Center GPUs, by the builds of torch for Intel."""
    return [XPU]
