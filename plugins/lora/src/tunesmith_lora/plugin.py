"""What this package offers: the tuner ``lora``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from tunesmith import AdapterMark, Problem, TunerSpec, hookimpl

if TYPE_CHECKING:
    from tunesmith.plan import Plan

    from tunesmith_lora.peft_kinds import PeftKind

TUNESMITH_API = (1, 0)

#: Kinds that need more than peft's configuration.
BY_LAYER = "tunesmith_lora.merging_facts:obstacle"
OWN_TUNERS = {"adalora": "tunesmith_lora.adalora:AdaloraTuner"}


@hookimpl
def tunesmith_tuners() -> list[TunerSpec]:
    """An adapter folder is recognised by what peft writes into ``adapter_config.json``."""
    from tunesmith_lora.peft_kinds import kinds

    lora = TunerSpec(
        "lora",
        "tunesmith_lora.tuner:LoraTuner",
        "Low-rank updates beside frozen weights (LoRA, rsLoRA, DoRA, LoRA+, PiSSA …).",
        options="tunesmith_lora.options:LoraOptions",
        saves="adapter",
        marks=(AdapterMark("adapter_config.json", "peft_type", "LORA"),),
        by_layer=BY_LAYER,
        over_quantized=True,
        disables=True,
        starts_anew="create_new_adapter",
        trainable="tunesmith_lora.counting:count_learning",
    )
    others = [_spec(kind) for kind in kinds().values()]
    return [lora, *others, replace(_spec(kinds()["oft"]), name="qoft", summary="OFT over quantised weights (QOFT).")]


def _spec(kind: PeftKind) -> TunerSpec:
    return TunerSpec(
        kind.name,
        OWN_TUNERS.get(kind.name, f"tunesmith_lora.peft_tuner:{kind.name}"),
        kind.summary,
        options=f"tunesmith_lora.peft_kinds:{kind.title}",
        needs=kind.needs,
        saves="adapter",
        marks=(AdapterMark("adapter_config.json", "peft_type", kind.type),),
        mergeable=kind.mergeable,
        by_layer=BY_LAYER if kind.mergeable else "",
        over_quantized=kind.over_quantized,
        disables=True,
        starts_anew="create_new_adapter",
        trainable="tunesmith_lora.peft_counting:count_learning",
    )


@hookimpl
def tunesmith_check_plan(plan: Plan) -> Iterator[Problem]:
    """Combinations that cannot work, and keys that contradict the adapter a run goes on from."""
    from tunesmith_lora.checks import kind_problems, lora_problems
    from tunesmith_lora.peft_kinds import kind_of

    for chosen in plan.picked("tuners"):
        if chosen.name == "lora":
            yield from lora_problems(plan)
        elif kind := kind_of(chosen.name):
            yield from kind_problems(plan, chosen.name, kind)
