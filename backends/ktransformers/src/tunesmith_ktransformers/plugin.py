"""What this package offers: the accelerator ``ktransformers``, the stack it lives in, and the command ``experts``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from tunesmith import AcceleratorSpec, CommandSpec, Notice, Problem, StackSpec, Switch, hookimpl

if TYPE_CHECKING:
    from tunesmith.plan import Plan

TUNESMITH_API = (1, 0)

ACCELERATOR = AcceleratorSpec(
    "ktransformers",
    "tunesmith_ktransformers.accelerator:KTransformers",
    "The experts of a mixture on the processor, the rest on the device.",
    options="tunesmith_ktransformers.options:KtOptions",
    needs=("kt_kernel",),
    stack="ktransformers",
    switch=Switch("use_kt"),
    order=90,
    backends=("cpu", "cuda"),
    excludes=("unsloth",),
    dtypes=("bfloat16",),
    answers=True,
    preflight="tunesmith_ktransformers.preflight:findings",
)

#: kt-kernel asks for one version of torch, which its kernels do not need: they know tensors by address. Its wheel brings
#: sgl_kernel, deep_gemm, triton_kernels and others as top-level packages, over whatever is there under those names.
STACK = StackSpec(
    "ktransformers",
    "kt-kernel, and the packages that its wheel would put over others.",
    requirements=(
        "torch==2.13.0",
        "transformers>=5.20,<6",
        "peft>=0.19",
        "accelerate>=1.10",
        "datasets>=4.7",
        "trl>=1.16,<1.17",
        "safetensors>=0.4",
        "numpy>=1.24",
        "gguf>=0.17",
        "typer>=0.9",
        "rich>=13",
        "httpx>=0.25",
        "sentencepiece>=0.2",
        "protobuf",
        "psutil",
    ),
    without_dependencies=("kt-kernel==0.7.2",),
    pins=("torch==2.9.1",),
)

EXPERTS = CommandSpec(
    "experts",
    "tunesmith_ktransformers.command:experts",
    "Look whether experts can run on this processor; convert them to few bits.",
    section="Make",
)


@hookimpl
def tunesmith_accelerators() -> list[AcceleratorSpec]:
    """It takes a model's experts over when everything else is in place."""
    return [ACCELERATOR]


@hookimpl
def tunesmith_stacks() -> list[StackSpec]:
    """Where it runs."""
    return [STACK]


@hookimpl
def tunesmith_commands() -> list[CommandSpec]:
    """Preflight and conversion."""
    return [EXPERTS]


@hookimpl
def tunesmith_check_plan(plan: Plan) -> Iterator[Problem | Notice]:
    """Model, settings, processor and memory: what used to end the process is a sentence."""
    if not any(chosen.name == ACCELERATOR.name for chosen in plan.picked("accelerators")):
        return
    from tunesmith_ktransformers.checks import findings, no_experts

    dense = no_experts(plan)
    if dense is not None:
        yield dense
        return
    yield from findings(plan)
