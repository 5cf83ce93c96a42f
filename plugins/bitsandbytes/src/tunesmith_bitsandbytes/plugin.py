"""What this package offers: the quantizer ``bitsandbytes``, also called ``bnb``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from tunesmith import Problem, QuantizerSpec, hookimpl

if TYPE_CHECKING:
    from tunesmith.plan import Plan

TUNESMITH_API = (1, 0)

SPEC = QuantizerSpec(
    "bitsandbytes",
    "tunesmith_bitsandbytes.quantizer:BitsandbytesQuantizer",
    "Four bits (NF4, FP4: QLoRA) or eight (LLM.int8).",
    options="tunesmith_bitsandbytes.options:BitsandbytesOptions",
    needs=("bitsandbytes",),
    bits=(4, 8),
    aliases=("bnb",),
    reads=("bitsandbytes", "load_in_4bit", "load_in_8bit"),
    # Four bits and, for every 64 weights, a scale of 8 bits (32 without double quantisation); eight bits and a scale a row.
    stores={4: 4.127, 8: 8.1},
    shards=(4,),
    writes=(4, 8),
)
#: Keys that say something of four bits only, and what they are when they say nothing.
FOUR_ONLY = ("quantization_type", "double_quantization", "quantization_device_map")


@hookimpl
def tunesmith_quantizers() -> list[QuantizerSpec]:
    """One quantizer."""
    return [SPEC]


@hookimpl
def tunesmith_check_plan(plan: Plan) -> Iterator[Problem]:
    """Keys that cannot do what they ask for."""
    if not any(chosen.name == SPEC.name for chosen in plan.picked("quantizers")):
        return
    setting = plan.settings["quantization_device_map"]
    if setting.value and plan.command == "train":
        what = "quantization_device_map spreads a model for inference; a model that learns lies on one device of each process"
        yield Problem(setting.origin, what, "Leave it out.")
    bits = {wish.bits for wish in plan.models.values() if wish.quantizer.startswith(SPEC.name)}
    for key in FOUR_ONLY:
        if plan.settings[key].given and 4 not in bits:
            why = "the model brings its own format" if bits == {None} else "it is about 4 bits, and the run has none"
            yield Problem(plan.settings[key].origin, f"{key} does nothing here: {why}", "Leave it out.")
