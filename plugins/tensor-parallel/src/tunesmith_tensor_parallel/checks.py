"""What cannot be done with layers in slices, known before anything is loaded. No torch."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunesmith import Problem

from tunesmith_tensor_parallel.choice import told_size

if TYPE_CHECKING:
    from tunesmith.plan import Plan

#: Keys that cannot be kept: what would happen, and what to write.
KEYS = {
    "fp16": ("scaling of gradients in half precision is not built over weights in slices", "Write bf16: true."),
    "torch_compile": ("compiling is not built over layers in slices", "Leave it out."),
    "auto_find_batch_size": ("a run cannot start anew once weights are in slices", "Write the batch size."),
    "train_from_scratch": (
        "slices are made while weights are read",
        "Train a step in one process first.",
    ),
    "streaming": ("processes would read other rows, and all need the same", "Write streaming: false"),
    "predict_with_generate": (
        "processes would answer other prompts, and all are needed for each",
        "Predict in another run.",
    ),
    "do_predict": ("processes would answer other prompts, and all are needed for each", "Predict in another run."),
    "precompute_ref_log_probs": ("processes would read other rows, and all need the same", "Leave it out."),
}
#: How many processes there may be, by what is split over them.
SPLIT = ("num_attention_heads", "num_key_value_heads")


def faults(plan: Plan) -> Iterator[Problem]:
    """Everything that speaks against splitting layers in this plan."""
    where = plan.settings["tp_size"].origin
    yield from _sizes(plan, where)
    for key, (reason, hint) in KEYS.items():
        if key in plan.settings and plan[key]:
            yield Problem(plan.settings[key].origin, f"{key} with tp_size: {reason}", hint)
    for axis in ("optimizers", "accelerators", "quantizers"):
        for chosen in plan.picked(axis):
            yield Problem(where, f"{chosen.name} is not made for the slices that tp_size makes", "Leave one of both out.")
    if any(wish.packed for wish in plan.models.values()):
        yield Problem(where, "weights in few bits cannot be split by tp_size", "Load them plain.")
    yield from _prompts(plan, where)


def _sizes(plan: Plan, where: str) -> Iterator[Problem]:
    size, processes, told = plan["tp_size"], plan.spread.processes, told_size(os.environ)
    if told > 1 and told != size:
        yield Problem(where, f"accelerate launch asks for tp_size: {told}, and the run for {size}", f"Write tp_size: {told}")
    elif size != processes:
        what = f"tp_size: {size} splits layers over {size} processes, and the run has {processes}"
        yield Problem(where, what, f"Write nproc_per_node: {size}. Copies beside the slices are not built.")
    for name, wish in plan.models.items():
        place = plan.places.get(wish.path or "")
        for key, count in _heads(Path(place.folder if place else wish.path or ".")):
            if count % size:
                what = f"tp_size: {size} does not divide the {count} {key} of the {name} model"
                yield Problem(where, what, "Write a size that does.")


def _heads(folder: Path) -> Iterator[tuple[str, int]]:
    file = folder.expanduser() / "config.json"
    if not file.is_file():
        return
    config: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    config = config.get("text_config", config)
    yield from ((key, config[key]) for key in SPLIT if isinstance(config.get(key), int))


def _prompts(plan: Plan, where: str) -> Iterator[Problem]:
    """Stages that answer give each process prompts of its own."""
    if any(key in plan.settings for key in ("reward_funcs", "teacher_model")):
        what = f"the stage {plan['stage']} lets each process answer other prompts, and with tp_size all are needed for each"
        yield Problem(where, what, "Use fsdp or deepspeed, or leave tp_size out.")
