"""What this package offers: the accelerator ``unsloth`` and the stack it lives in."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from tunesmith import AcceleratorSpec, Problem, StackSpec, Switch, hookimpl

if TYPE_CHECKING:
    from tunesmith.plan import Plan

TUNESMITH_API = (1, 0)

ACCELERATOR = AcceleratorSpec(
    "unsloth",
    "tunesmith_unsloth.accelerator:Unsloth",
    "Weights, adapters and kernels by unsloth.",
    options="tunesmith_unsloth.options:UnslothOptions",
    needs=("unsloth",),
    stack="unsloth",
    switch=Switch("use_unsloth"),
    order=10,
    loads=True,
    excludes=("liger",),
)

#: unsloth and unsloth_zoo ask for image libraries and CUDA builds that training text does not need, and for a certifi that is
#: newer than most indexes have. So they are installed by themselves, and what they import is listed, in versions they accept.
STACK = StackSpec(
    "unsloth",
    "unsloth and the versions that it wants.",
    requirements=(
        "torch==2.13.0",
        "transformers>=5.16.1,<=5.17.0",
        "trl>=1.14,<=1.15.0",
        "datasets>=4.7,<5",
        "peft>=0.18",
        "accelerate>=1.10",
        "bitsandbytes>=0.50",
        "torchao>=0.13",
        "triton>=3",
        "tyro",
        "einops",
        "hf_transfer",
        "msgspec",
        "nest-asyncio",
        "pillow",
        "protobuf",
        "psutil",
        "requests",
        "sentencepiece>=0.2",
        "wheel>=0.42",
    ),
    without_dependencies=("unsloth==2026.10.9", "unsloth_zoo==2026.10.9", "cut_cross_entropy==25.1.1"),
    pins=("transformers<=5.17.0", "trl<=1.15.0", "datasets<5.0.0"),
)

STAGES = ("pt", "sft")
TUNERS = ("lora", "full")


@hookimpl
def tunesmith_accelerators() -> list[AcceleratorSpec]:
    """It loads the model that learns and prepares it for training."""
    return [ACCELERATOR]


@hookimpl
def tunesmith_stacks() -> list[StackSpec]:
    """Where it runs."""
    return [STACK]


@hookimpl
def tunesmith_check_plan(plan: Plan) -> Iterator[Problem]:
    """What it was not made for."""
    if not any(chosen.name == ACCELERATOR.name for chosen in plan.picked("accelerators")):
        return
    where = plan.settings["use_unsloth"].origin
    for axis, word, known in (("trainers", "stage", STAGES), ("tuners", "finetuning_type", TUNERS)):
        for chosen in plan.picked(axis):
            if chosen.name not in known:
                what = f"use_unsloth does not work with {word}: {chosen.name}"
                yield Problem(where, what, f"It works with {' and '.join(known)}.")
    if plan["train_from_scratch"]:
        yield Problem(where, "use_unsloth loads weights, and train_from_scratch has none", "Leave one of them out.")
    if plan["quantization_bit"] not in (None, 4) or plan["quantization_method"] not in ("bnb", "bitsandbytes"):
        what = f"use_unsloth knows no {plan['quantization_method']} with {plan['quantization_bit']} bits"
        yield Problem(where, what, "Write quantization_bit: 4 with quantization_method: bnb, or leave it out.")
