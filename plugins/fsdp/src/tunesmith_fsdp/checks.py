"""What FSDP would refuse, or do otherwise than was asked, known before anything is loaded. No torch."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from tunesmith import Problem, TunesmithError

from tunesmith_fsdp.config import SIZES, FsdpConfig, read_config

if TYPE_CHECKING:
    from tunesmith.plan import Plan

#: Switches that cannot be kept where weights lie in parts: what happens, and what to write.
SWITCHES = {
    "fp16": ("scaling of gradients in half precision is not built over weights in parts", "Write bf16: true."),
    "torch_compile": ("compiling is not built over weights in parts", "Leave it out."),
    "auto_find_batch_size": ("a run cannot start anew once weights are in parts", "Write the batch size."),
    "bf16_full_eval": ("weights in parts are evaluated in the format they are trained in", "Leave it out."),
    "fp16_full_eval": ("weights in parts are evaluated in the format they are trained in", "Leave it out."),
}


def config_of(plan: Plan) -> FsdpConfig:
    """What the plan's keys and this process's environment say.

    :raises TunesmithError: it cannot be read.
    """
    return read_config(lambda key: plan[key], os.environ, Path(plan.config_folder))[0]


def faults(plan: Plan) -> Iterator[Problem]:
    """Everything that speaks against FSDP in this plan."""
    where = plan.settings["fsdp"].origin if plan["fsdp"] else ""
    try:
        config = config_of(plan)
    except TunesmithError as error:
        yield Problem(where, error.message.rstrip("."), error.hint)
        return
    yield from _sizes(plan, config)
    for key, (reason, hint) in SWITCHES.items():
        if key in plan.settings and plan[key]:
            yield Problem(plan.settings[key].origin, f"{key} with fsdp: {reason}", hint)


def _sizes(plan: Plan, config: FsdpConfig) -> Iterator[Problem]:
    processes = plan.spread.processes
    parts = config.parts or processes // config.copies
    if parts * config.copies != processes:
        what = f"parallelism_config: {parts} parts × {config.copies} copies are not the {processes} processes of this run"
        yield Problem(plan.settings["parallelism_config"].origin, what, f"Make {' × '.join(SIZES)} {processes}.")


def sizes_nobody_uses(plan: Plan) -> Iterator[Problem]:
    """``parallelism_config`` asks for something where nothing is shared out."""
    setting = plan.unused.get("parallelism_config") or plan.settings.get("parallelism_config")
    asked = [f"{key}: {one}" for key, one in ((setting.value or {}) if setting else {}).items() if one not in (None, 1)]
    if setting and asked:
        what = f"parallelism_config: {', '.join(asked)} has no effect"
        hint = "It says how fsdp shares a model out: write fsdp: true, or leave it out."
        if size := (setting.value or {}).get("tp_size"):
            hint = f"Write tp_size: {size} by itself: that is the key of tensor parallelism."
        yield Problem(setting.origin, what, hint)
