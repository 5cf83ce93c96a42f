"""What cannot work in a plan with ``lora`` or one of peft's other kinds. No torch, no peft."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from tunesmith import Problem
from tunesmith.plan import Plan

from tunesmith_lora.options import DATA_DRIVEN, MOVING, UNCONVERTED, LoraOptions, expression
from tunesmith_lora.peft_kinds import PeftKind

#: Two keys that exclude each other, why, and what to do. Each key is on when its value is neither false nor nothing.
EXCLUDED: tuple[tuple[str, str, str, str], ...] = (
    ("lora_target_parameters", "lora_dropout", "peft has no dropout for such weights", "Write lora_dropout: 0."),
    ("lora_target_parameters", "use_dora", "peft has no DoRA for such weights", "Leave one of them out."),
)

#: Keys whose value lies in an adapter that a run goes on from, and how to read it there.
SETTLED: Mapping[str, Callable[[Mapping[str, Any]], Any]] = {
    "lora_rank": lambda config: config.get("r"),
    "lora_alpha": lambda config: config.get("lora_alpha"),
    "use_rslora": lambda config: config.get("use_rslora", False),
    "use_dora": lambda config: config.get("use_dora", False),
    "pissa_init": lambda config: str(config.get("init_lora_weights")).startswith("pissa"),
}


def lora_problems(plan: Plan) -> Iterator[Problem]:
    """Everything that speaks against this plan."""
    options = plan.options(LoraOptions)
    for one, other, why, instead in EXCLUDED:
        if _on(plan, one) and _on(plan, other):
            yield Problem(plan.settings[one].origin, f"{one} and {other} cannot go together: {why}", instead)
    yield from _start_problems(plan, options)
    if options.pissa_convert and options.method != "pissa":
        yield Problem(
            plan.settings["pissa_convert"].origin, "pissa_convert has nothing to convert", "Write pissa_init: true too."
        )
    yield from _expression(plan, "lora_target")
    yield from _contradictions(plan, options)


def _start_problems(plan: Plan, options: LoraOptions) -> Iterator[Problem]:
    """Ways to start that need what this run does not have."""
    method, key = options.method, "pissa_init" if options.pissa_init else "lora_init"
    for what, instead in _start_faults(plan, options, method):
        yield Problem(plan.settings[key].origin, what.format(key=key, method=method), instead)
    try:
        options.replication  # noqa: B018  # it raises where it cannot be read
    except ValueError:
        where, given = plan.settings["lora_layer_replication"].origin, ",".join(options.lora_layer_replication or ())
        yield Problem(where, f"lora_layer_replication: {given} is no list of ranges", "Write first and end: 0-16,8-24.")


def _start_faults(plan: Plan, options: LoraOptions, method: str) -> Iterator[tuple[str, str]]:
    if options.pissa_init and options.lora_init not in ("default", "pissa"):
        yield "{key} and lora_init: " + options.lora_init + " are two ways to start", "Keep one of them."
    if method in (*MOVING, "mica", "orthogonal") and _on(plan, "quantization_bit"):
        yield "{key} ({method}) cannot move weights that are quantised", "Leave one of them out."
    if method in (*MOVING, "mica", "loftq") and options.use_dora:
        yield "{key} ({method}) and use_dora cannot go together: both say where the update starts", "Keep one of them."
    if method != "default" and options.lora_target_parameters:
        yield "{key} ({method}) and lora_target_parameters cannot go together: peft has no such start for them", "Keep one."
    if method == "orthogonal" and options.lora_rank % 2:
        yield f"{{key}} (orthogonal) needs an even rank, and lora_rank is {options.lora_rank}", "Write an even lora_rank."
    if method == "loftq" and not (_on(plan, "quantization_bit") and plan["quantization_bit"] == 4 and _by_bitsandbytes(plan)):
        yield (
            "{key} (loftq) makes up for quantising to 4 bits by bitsandbytes, which this run does not do",
            "Write quantization_bit: 4 and quantization_method: bnb.",
        )
    if method in DATA_DRIVEN and any(dataset.kind == "prompt" for dataset in plan.datasets):
        yield "{key} ({method}) looks at rows and their loss, and this stage's rows are prompts only", "Use another start."


def _by_bitsandbytes(plan: Plan) -> bool:
    return "quantization_method" not in plan.settings or plan["quantization_method"] in ("bnb", "bitsandbytes")


def _on(plan: Plan, key: str) -> bool:
    return key in plan.settings and bool(plan[key])


def kind_problems(plan: Plan, name: str, kind: PeftKind) -> Iterator[Problem]:
    """What cannot work with one of peft's other kinds."""
    if kind.target:
        yield from _expression(plan, kind.target)
    if name == "qoft" and not _on(plan, "quantization_bit"):
        where = plan.settings["oft_target"].origin
        yield Problem(where, "qoft turns quantised weights, and these are not", "Write quantization_bit: 4, or use oft.")
    if name == "adalora" and plan["adalora_init_r"] <= plan["adalora_target_r"]:
        what = f"adalora_init_r ({plan['adalora_init_r']}) is not above adalora_target_r ({plan['adalora_target_r']})"
        yield Problem(plan.settings["adalora_init_r"].origin, what, "AdaLoRA starts with more ranks than it keeps.")
    if name == "trainable_tokens" and not plan["trainable_tokens_indices"]:
        where = plan.settings["trainable_tokens_indices"].origin
        yield Problem(where, "trainable_tokens_indices names no token", "List the ids of the tokens that learn: [151643, …].")


def _expression(plan: Plan, key: str) -> Iterator[Problem]:
    wanted = expression(plan[key])
    if wanted is None:
        return
    try:
        re.compile(wanted)
    except re.error as error:
        yield Problem(plan.settings[key].origin, f"{key} holds no regular expression: {error}", f"Mend {wanted!r}.")


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
