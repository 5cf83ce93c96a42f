"""What DeepSpeed would refuse, or do otherwise than was asked, known before anything is loaded. No torch."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from tunesmith import Problem

from tunesmith_deepspeed.config import ZERO, offloads, stage_of

if TYPE_CHECKING:
    from tunesmith.plan import Plan

#: Keys of DeepSpeed's that say the same as training arguments; anything but "auto" has to agree.
SAME = {
    "train_micro_batch_size_per_gpu": "per_device_train_batch_size",
    "gradient_accumulation_steps": "gradient_accumulation_steps",
    "gradient_clipping": "max_grad_norm",
}
COMPILERS = ("c++", "g++", "clang++")


def faults(plan: Plan, config: Mapping[str, Any], where: str) -> Iterator[Problem]:
    """Everything that speaks against this configuration in this plan."""
    yield from _disagreements(plan, config, where)
    stage = stage_of(config)
    if offloads(config, "param") and stage != 3:
        yield Problem(
            where, f"{ZERO}.offload_param needs stage 3, and the stage is {stage}", "Write stage: 3, or leave it out."
        )
    if offloads(config, "optimizer") and not any(map(shutil.which, COMPILERS)) and _builds_adam(config):
        yield Problem(
            where,
            "an offloaded optimizer is compiled when it is first used, and there is no C++ compiler here",
            "Install one, or write deepspeed_config: {zero_force_ds_cpu_optimizer: false} for torch's slower optimizer.",
        )
    if stage == 3 and plan["do_predict"] and not plan["do_train"]:
        yield Problem(where, "do_predict by itself cannot use weights in parts", "Leave deepspeed out, or train as well.")
    if plan["load_best_model_at_end"] and plan["save_only_model"]:
        yield Problem(where, "load_best_model_at_end cannot read back save_only_model checkpoints with DeepSpeed", "Drop one.")


def _builds_adam(config: Mapping[str, Any]) -> bool:
    return bool(config.get("zero_force_ds_cpu_optimizer", True))


def _disagreements(plan: Plan, config: Mapping[str, Any], where: str) -> Iterator[Problem]:
    for theirs, ours in SAME.items():
        value = config.get(theirs, "auto")
        if value != "auto" and plan.settings[ours].value != value:
            what = f"DeepSpeed's {theirs} is {value}, and {ours} is {plan.settings[ours].value}"
            yield Problem(where, what, f'Write "{theirs}": "auto", so that {ours} decides.')
