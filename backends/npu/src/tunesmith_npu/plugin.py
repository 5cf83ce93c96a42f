"""What this package offers: the backend ``npu``, torch-npu's fused operators, and the stack of vllm-ascend."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from tunesmith import AcceleratorSpec, BackendSpec, StackSpec, Switch, hookimpl
from tunesmith.errors import Notice, Problem

if TYPE_CHECKING:
    from tunesmith.plan import Plan

TUNESMITH_API = (1, 0)

BACKEND = BackendSpec(
    "npu",
    "tunesmith_npu.backend:NpuBackend",
    "Ascend devices, through torch-npu.",
    options="tunesmith_npu.options:NpuOptions",
    probe="tunesmith_npu.preflight:probe",
    preflight="tunesmith_npu.preflight:preflight",
    guard="tunesmith_npu.guard:keep_import_of_torch_working",
    priority=90,
    device="npu",
    visible_devices="ASCEND_RT_VISIBLE_DEVICES",
    dtypes=("bfloat16", "float16", "float32"),
    attention=("sdpa", "eager", "flash_attention_2"),
    kernels=("torch_npu",),
    process_group="hccl",
    environment={
        # torch would import torch-npu by itself and die where CANN is not set up; the backend does it, and says why it cannot.
        "TORCH_DEVICE_BACKEND_AUTOLOAD": "0",
        "PYTORCH_NPU_ALLOC_CONF": "expandable_segments:True",
        "DS_ACCELERATOR": "npu",  # deepspeed would guess
    },
    engine_stacks={"vllm": "vllm-ascend"},
)

FUSED = AcceleratorSpec(
    "npu-fused",
    "tunesmith_npu.fused:FusedOperators",
    "torch-npu's fused norm, rotary embedding, SwiGLU and attention.",
    options="tunesmith_npu.options:FusedOptions",
    switch=Switch("npu_fused_operators"),
    order=45,
    kernels=("torch_npu",),
    elsewhere="They are for Ascend devices: leave npu_fused_operators out.",
    excludes=("liger", "unsloth"),
)

#: vllm-ascend pins a torch and a torch-npu that are older than what training wants, and versions of half a dozen others.
VLLM = StackSpec(
    "vllm-ascend",
    "vLLM on Ascend devices, and the versions that it wants.",
    requirements=("vllm==0.23.0", "vllm-ascend==0.23.0"),
    kind="server",
    pins=("torch==2.10.0", "torch-npu==2.10.0.post4", "transformers==5.5.4", "triton-ascend==3.2.2"),
)


@hookimpl
def tunesmith_backends() -> list[BackendSpec]:
    """Ascend devices; they come before a processor, and after devices that torch itself knows."""
    return [BACKEND]


@hookimpl
def tunesmith_accelerators() -> list[AcceleratorSpec]:
    """Operators that only torch-npu has."""
    return [FUSED]


@hookimpl
def tunesmith_stacks() -> list[StackSpec]:
    """Where an engine for these devices lives."""
    return [VLLM]


@hookimpl
def tunesmith_check_plan(plan: Plan) -> Iterator[Problem | Notice]:
    """What users of these devices learn late: sampling that fails, operators that are compiled anew for every shape."""
    if BACKEND.name not in {chosen.name for chosen in plan.picked("backends")}:
        return
    generates = not list(plan.picked("trainers")) or _is_on(plan, "do_predict")
    if generates and _is_on(plan, "do_sample"):
        yield Notice("where generating fails on this device or is slow, do_sample: false is the first thing to try")
    if _is_on(plan, "npu_jit_compile"):
        yield Notice("npu_jit_compile: every new length of a batch is compiled; packing or padded rows keep lengths few")


def _is_on(plan: Plan, key: str) -> bool:
    return key in plan.settings and bool(plan[key])
