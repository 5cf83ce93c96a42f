"""What this package offers: the tuner ``lora``."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunesmith import AdapterMark, Problem, TunerSpec, hookimpl

from tunesmith_lora.options import UNCONVERTED, LoraOptions, expression

if TYPE_CHECKING:
    from tunesmith.plan import Plan

TUNESMITH_API = (1, 0)

#: Two keys that exclude each other, why, and what to do. Each key is on when its value is neither false nor nothing.
EXCLUDED: tuple[tuple[str, str, str, str], ...] = (
    ("pissa_init", "quantization_bit", "PiSSA cannot decompose quantised weights", "Leave one of them out."),
    ("pissa_init", "use_dora", "a DoRA update cannot be measured against PiSSA's start", "Keep one of them."),
    ("lora_target_parameters", "lora_dropout", "peft has no dropout for such weights", "Write lora_dropout: 0."),
    ("lora_target_parameters", "use_dora", "peft has no DoRA for such weights", "Leave one of them out."),
    ("lora_target_parameters", "pissa_init", "peft has no PiSSA for such weights", "Leave one of them out."),
)

#: Keys whose value lies in an adapter that a run goes on from, and how to read it there.
SETTLED: Mapping[str, Callable[[Mapping[str, Any]], Any]] = {
    "lora_rank": lambda config: config.get("r"),
    "lora_alpha": lambda config: config.get("lora_alpha"),
    "use_rslora": lambda config: config.get("use_rslora", False),
    "use_dora": lambda config: config.get("use_dora", False),
    "pissa_init": lambda config: str(config.get("init_lora_weights")).startswith("pissa"),
}


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
        yield from _problems(plan)


def _problems(plan: Plan) -> Iterator[Problem]:
    """Everything that speaks against this plan."""
    options = plan.options(LoraOptions)
    for one, other, why, instead in EXCLUDED:
        if _on(plan, one) and _on(plan, other):
            yield Problem(plan.settings[one].origin, f"{one} and {other} cannot go together: {why}", instead)
    if options.pissa_convert and not options.pissa_init:
        yield Problem(
            plan.settings["pissa_convert"].origin, "pissa_convert has nothing to convert", "Write pissa_init: true too."
        )
    yield from _expression(plan, options)
    yield from _contradictions(plan, options)


def _on(plan: Plan, key: str) -> bool:
    return key in plan.settings and bool(plan[key])


def _expression(plan: Plan, options: LoraOptions) -> Iterator[Problem]:
    wanted = expression(options.lora_target)
    if wanted is None:
        return
    try:
        re.compile(wanted)
    except re.error as error:
        where = plan.settings["lora_target"].origin
        yield Problem(where, f"lora_target holds no regular expression: {error}", f"Mend {wanted!r}.")


def _contradictions(plan: Plan, options: LoraOptions) -> Iterator[Problem]:
    """Keys that the user wrote and that the adapter to go on from decided otherwise."""
    adapters = plan.models["policy"].adapters if "policy" in plan.models else ()
    if plan.command != "train" or options.create_new_adapter or not adapters:
        return
    folder = Path(adapters[-1], (plan["adapter_folder"] if "adapter_folder" in plan.settings else None) or "")
    files = [file for inner in (UNCONVERTED, "") if (file := folder / inner / "adapter_config.json").is_file()]
    if not files:
        return
    config = json.loads(files[0].read_text(encoding="utf-8"))
    for key, read in SETTLED.items():
        setting = plan.settings[key]
        if setting.given and setting.value is not None and setting.value != read(config):
            what = f"{key} is {setting.value}, and the adapter in {adapters[-1]} has {read(config)}"
            yield Problem(setting.origin, what, f"Leave {key} out, or write create_new_adapter: true.")
