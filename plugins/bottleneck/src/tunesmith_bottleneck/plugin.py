"""What this package offers: the tuner ``adapter``."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from tunesmith import AdapterMark, Problem, TunerSpec, hookimpl
from tunesmith.adapter_checks import not_with

if TYPE_CHECKING:
    from tunesmith.plan import Plan

TUNESMITH_API = (1, 0)
CONFIG = "adapter_config.json"
#: Written into an adapter's configuration, which by this is known from other programs' adapters.
KIND = "bottleneck"

TUNER = TunerSpec(
    "adapter",
    "tunesmith_bottleneck.tuner:AdapterTuner",
    "Small networks with a narrow middle inside every layer (bottleneck adapters).",
    options="tunesmith_bottleneck.options:BottleneckOptions",
    saves="adapter",
    marks=(AdapterMark(CONFIG, "adapter_type", KIND),),
    over_quantized=True,
    disables=True,
    trainable="tunesmith_bottleneck.counting:count_learning",
)


@hookimpl
def tunesmith_tuners() -> list[TunerSpec]:
    """One tuner."""
    return [TUNER]


@hookimpl
def tunesmith_check_plan(plan: Plan) -> Iterator[Problem]:
    """What an adapter of this kind cannot have beside it; and one whose middle is bent cannot be folded into weights."""
    if any(chosen.name == TUNER.name for chosen in plan.picked("tuners")):
        yield from not_with(plan, TUNER.name)
    if plan.command != "export" or "policy" not in plan.models:
        return
    for name in plan.models["policy"].adapters:
        file = Path(name).expanduser() / CONFIG
        config = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
        if config.get("adapter_type") == KIND and config.get("activation") != "identity":
            what = f"the adapter in {name} cannot be merged: {config.get('activation')} bends its middle"
            yield Problem(plan.settings["adapter_name_or_path"].origin, what, "Serve it beside its model instead.")
