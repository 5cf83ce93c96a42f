"""What to change when a device's memory is full."""

from __future__ import annotations

from collections.abc import Iterator

from tunesmith.memory_advice import (
    half_precision,
    more_room,
    recompute,
    shorter_rows,
    smaller_batch,
    value_of,
)
from tunesmith.plan import Plan


def remedies(plan: Plan) -> Iterator[str]:
    """The best ways out, in order."""
    yield from smaller_batch(plan)
    yield from recompute(plan)
    if not value_of(plan, "disable_gradient_checkpointing", False) and not value_of(plan, "use_unsloth_gc", False):
        yield "use_unsloth_gc: true, to hold activations in CPU memory"
    yield from half_precision(plan)
    yield from _fewer_weights(plan)
    yield from shorter_rows(plan)
    yield from more_room()


def _fewer_weights(plan: Plan) -> Iterator[str]:
    tuners = [chosen.name for chosen in plan.picked("tuners")]
    if tuners in (["full"], ["freeze"]):
        yield "finetuning_type: lora, so that far fewer weights learn"
    elif tuners and value_of(plan, "quantization_bit", None) is None:
        yield "quantization_bit: 4, to hold frozen weights in four bits"
