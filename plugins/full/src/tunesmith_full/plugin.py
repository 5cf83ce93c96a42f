"""What this package offers: the tuners ``full`` and ``freeze``."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from tunesmith import CommandSpec, Problem, TunerSpec, hookimpl

if TYPE_CHECKING:
    from tunesmith.plan import Plan

    from tunesmith_full.options import FreezeOptions

TUNESMITH_API = (1, 0)


@hookimpl
def tunesmith_tuners() -> list[TunerSpec]:
    """Both save whole models, which need no mark: they load like any other."""
    return [
        TunerSpec("full", "tunesmith_full.tuners:FullTuner", "Every weight of the model learns."),
        TunerSpec(
            "freeze",
            "tunesmith_full.tuners:FreezeTuner",
            "Chosen layers and modules of the model learn, the rest stays.",
            options="tunesmith_full.options:FreezeOptions",
            trainable="tunesmith_full.counting:count_unfrozen",
        ),
    ]


@hookimpl
def tunesmith_commands() -> list[CommandSpec]:
    """Adding layers to a model is done once, before any run."""
    return [CommandSpec("expand", "tunesmith_full.command:expand", "Add silent copies of layers to a model (LLaMA Pro).")]


@hookimpl
def tunesmith_check_plan(plan: Plan) -> Iterator[Problem]:
    """A frozen model that has nothing left to learn, or too few layers, is known before it is loaded."""
    if "use_llama_pro" in plan.unused and plan.unused["use_llama_pro"].value and plan.command == "train":
        hint = "Write finetuning_type: freeze, or name the added blocks to another tuner: lora_target: re:.*layers\\.(3|7)\\..*"
        where = plan.unused["use_llama_pro"].origin
        yield Problem(where, "use_llama_pro chooses blocks for finetuning_type: freeze alone", hint)
    if not any(chosen.name == "freeze" for chosen in plan.picked("tuners")):
        return
    from tunesmith_full.options import FreezeOptions

    options, origin = plan.options(FreezeOptions), plan.settings["freeze_trainable_layers"].origin
    yield from _contradictions(plan, options)
    if options.freeze_trainable_weights != "all":
        return
    wanted, there = options.freeze_trainable_layers, _layers(plan)
    if not wanted and not options.freeze_extra_modules:
        yield Problem(origin, "freeze_trainable_layers: 0 leaves nothing to learn", "Name freeze_extra_modules: too.")
    if there is not None and options.use_llama_pro and wanted > 0 and there % wanted:
        what = f"use_llama_pro: {there} layers cannot be split into {wanted} equal groups (freeze_trainable_layers)"
        yield Problem(origin, what, "Write the number of blocks that the expansion added.")
    if there is not None and abs(wanted) > there:
        what = f"freeze_trainable_layers is {wanted}, and the model has {there} layers"
        yield Problem(origin, what, f"Write a number from {-there} to {there}.")


def _contradictions(plan: Plan, options: FreezeOptions) -> Iterator[Problem]:
    """Keys that say in two ways what learns."""
    if options.use_llama_pro and options.freeze_trainable_layers < 1:
        what = f"use_llama_pro with freeze_trainable_layers: {options.freeze_trainable_layers} leaves no block to learn"
        yield Problem(plan.settings["use_llama_pro"].origin, what, "Write the number of blocks that the expansion added.")
    if options.freeze_trainable_weights == "all":
        return
    for key in ("freeze_trainable_layers", "freeze_trainable_modules", "freeze_extra_modules", "use_llama_pro"):
        setting = plan.settings[key]
        if setting.given and setting.value:
            what = f"{key} has no meaning with freeze_trainable_weights: {options.freeze_trainable_weights}"
            yield Problem(setting.origin, what, "Keep one of them.")


def _layers(plan: Plan) -> int | None:
    """How many layers the model's own configuration states; ``None`` where it is not on this machine or does not say."""
    folder = plan.models["policy"].path if "policy" in plan.models else None
    file = Path(folder or "", "config.json")
    if not folder or not file.is_file():
        return None
    config = json.loads(file.read_text(encoding="utf-8"))
    count = {**config, **(config.get("text_config") or {})}.get("num_hidden_layers")
    return count if isinstance(count, int) else None
