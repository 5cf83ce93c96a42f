"""What to change when memory is full, in the numbers of the run. Each backend puts the ways in its own order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from tunesmith.backend_facts import Memory
from tunesmith.plan import Plan

#: How many ways out are named: the first ones that this run has not taken yet.
NAMED = 3
GIBIBYTE = 2**30


def memory_full(plan: Plan, memory: Memory, ways: Iterable[str], whose: str = "the device") -> str:
    """What the plan expected, what there is, and the best ways out in order, the one that changes the result least first."""
    state = f"{memory.used / GIBIBYTE:.1f} GiB held, {memory.free / GIBIBYTE:.1f} of {memory.total / GIBIBYTE:.1f} GiB free"
    listed = "\n".join(f"  {number}. {way}" for number, way in zip(range(1, NAMED + 1), ways, strict=False))
    return f"The memory of {whose} is full ({state}).{_expected(plan)} In this order, try:\n{listed}"


def _expected(plan: Plan) -> str:
    if plan.estimate is None:
        return ""
    low, high = (plan.estimate.total * (1 + sign * plan.estimate.error) / GIBIBYTE for sign in (-1, 1))
    return f" The plan expected {low:.1f} to {high:.1f} GiB."


def smaller_batch(plan: Plan) -> Iterator[str]:
    """Half the rows at a time, twice as often."""
    rows, steps = value_of(plan, "per_device_train_batch_size", 1), value_of(plan, "gradient_accumulation_steps", 1)
    if rows > 1:
        yield (
            f"per_device_train_batch_size: {rows // 2} with gradient_accumulation_steps: {steps * 2}, "
            "for the same result in smaller pieces"
        )


def recompute(plan: Plan) -> Iterator[str]:
    """Activations computed twice."""
    if value_of(plan, "disable_gradient_checkpointing", False):
        yield "disable_gradient_checkpointing: false, to compute activations twice instead of keeping them"


def half_precision(plan: Plan) -> Iterator[str]:
    """Numbers of half the size."""
    if not any(value_of(plan, key, False) for key in ("bf16", "fp16", "pure_bf16")):
        yield "bf16: true, to halve activations and frozen weights"


def shorter_rows(plan: Plan) -> Iterator[str]:
    """Rows cut earlier."""
    length = value_of(plan, "cutoff_len", 0)
    yield f"cutoff_len: {length // 2}, which loses the ends of long rows" if length > 1 else "shorter rows"


def more_room() -> Iterator[str]:
    """What always helps, and costs."""
    yield "a device with more memory, or several with a launcher that shards"
    yield "a smaller model"


def value_of(plan: Plan, key: str, default: Any) -> Any:
    """The value of a key that may not be part of this plan."""
    value = plan[key] if key in plan.settings else None
    return default if value is None else value
