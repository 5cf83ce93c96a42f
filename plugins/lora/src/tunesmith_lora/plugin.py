"""What this package offers: the tuner ``lora``."""

from __future__ import annotations

from collections.abc import Iterator

from tunesmith import AdapterMark, Problem, TunerSpec, hookimpl
from tunesmith.plan import Plan

from tunesmith_lora.options import LoraOptions

TUNESMITH_API = (1, 0)


@hookimpl
def tunesmith_tuners() -> list[TunerSpec]:
    """An adapter folder is recognised by what peft writes into ``adapter_config.json``."""
    return [
        TunerSpec(
            "lora",
            "tunesmith_lora.tuner:LoraTuner",
            "Low-rank updates beside frozen weights (LoRA, rsLoRA, DoRA, LoRA+, PiSSA).",
            options=LoraOptions,
            saves="adapter",
            marks=(AdapterMark("adapter_config.json", "peft_type", "LORA"),),
            over_quantized=True,
            disables=True,
            trainable="tunesmith_lora.counting:count_learning",
        )
    ]


@hookimpl
def tunesmith_check_plan(plan: Plan) -> Iterator[Problem]:
    """Combinations that cannot work, and keys that contradict the adapter a run goes on from."""
    if any(chosen.name == "lora" for chosen in plan.picked("tuners")):
        from tunesmith_lora.checks import problems

        yield from problems(plan)
