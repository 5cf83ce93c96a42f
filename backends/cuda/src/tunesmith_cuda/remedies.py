"""What to change when a device's memory is full, in the numbers of the run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tunesmith.contracts import Memory
from tunesmith.plan import Plan

#: How many ways out are named: the first ones that this run has not taken yet.
NAMED = 3
GIBIBYTE = 2**30


def remedies(plan: Plan, memory: Memory) -> str:
    """What the plan expected, what the device says, and the best ways out in order."""
    state = f"{memory.used / GIBIBYTE:.1f} GiB held, {memory.free / GIBIBYTE:.1f} of {memory.total / GIBIBYTE:.1f} GiB free"
    expected = _expected(plan)
    ways = [way for _, way in zip(range(NAMED), _ways(plan), strict=False)]
    listed = "\n".join(f"  {number}. {way}" for number, way in enumerate(ways, 1))
    return f"The memory of the device is full ({state}).{expected} In this order, try:\n{listed}"


def _expected(plan: Plan) -> str:
    if plan.estimate is None:
        return ""
    low, high = (plan.estimate.total * (1 + sign * plan.estimate.error) / GIBIBYTE for sign in (-1, 1))
    return f" The plan expected {low:.1f} to {high:.1f} GiB."


def _ways(plan: Plan) -> Iterator[str]:
    """Every way out, the one that changes the result least first."""
    rows, steps = _value(plan, "per_device_train_batch_size", 1), _value(plan, "gradient_accumulation_steps", 1)
    if rows > 1:
        yield (
            f"per_device_train_batch_size: {rows // 2} with gradient_accumulation_steps: {steps * 2}, "
            "for the same result in smaller pieces"
        )
    if _value(plan, "disable_gradient_checkpointing", False):
        yield "disable_gradient_checkpointing: false, to compute activations twice instead of keeping them"
    elif not _value(plan, "use_unsloth_gc", False):
        yield "use_unsloth_gc: true, to hold activations in CPU memory"
    if not any(_value(plan, key, False) for key in ("bf16", "fp16", "pure_bf16")):
        yield "bf16: true, to halve activations and frozen weights"
    yield from _fewer_weights(plan)
    length = _value(plan, "cutoff_len", 0)
    yield f"cutoff_len: {length // 2}, which loses the ends of long rows" if length > 1 else "shorter rows"
    yield "a device with more memory, or several with a launcher that shards"
    yield "a smaller model"


def _fewer_weights(plan: Plan) -> Iterator[str]:
    tuners = [chosen.name for chosen in plan.picked("tuners")]
    if tuners in (["full"], ["freeze"]):
        yield "finetuning_type: lora, so that far fewer weights learn"
    elif tuners and _value(plan, "quantization_bit", None) is None:
        yield "quantization_bit: 4, to hold frozen weights in four bits"


def _value(plan: Plan, key: str, default: Any) -> Any:
    """The value of a key that may not be part of this plan."""
    value = plan[key] if key in plan.settings else None
    return default if value is None else value
