"""Why answers by vLLM cannot work in a run, known before anything is loaded."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from tunesmith import Problem

from tunesmith_grpo.vllm_options import OF_MODE, PREFIX, VllmRolloutOptions

if TYPE_CHECKING:
    from tunesmith.plan import Plan

#: Tuners whose weights vLLM can be given: whole ones, and adapters that can be added to them for a moment.
TUNERS = ("full", "freeze", "lora")


def problems(plan: Plan, stages: tuple[str, ...]) -> Iterator[Problem]:
    """Everything that can be known while planning.

    :param stages: those that can ask vLLM.
    """
    where, stage = plan.settings["use_vllm"].origin, plan["stage"]
    if stage not in stages:
        yield Problem(where, f"use_vllm: stage: {stage} has nobody answer", f"It works with {', '.join(stages)}.")
        return
    yield from _weights(plan, where)
    if not plan["do_sample"]:
        yield Problem(plan.settings["do_sample"].origin, "do_sample: vLLM draws answers", "Leave out do_sample or use_vllm.")
    if plan["use_transformers_continuous_batching"]:
        yield Problem(where, "use_vllm and use_transformers_continuous_batching both answer", "Keep one of them.")
    if plan["vllm_mode"] == "colocate" and plan.spread.processes % plan["vllm_tensor_parallel_size"]:
        what = (
            f"vllm_tensor_parallel_size: {plan['vllm_tensor_parallel_size']} does not divide {plan.spread.processes} processes"
        )
        hint = f"Write a divisor of {plan.spread.processes}, or leave it out."
        yield Problem(plan.settings["vllm_tensor_parallel_size"].origin, what, hint)
    yield from _in_vain(plan)


def _weights(plan: Plan, where: str) -> Iterator[Problem]:
    tuner = plan["finetuning_type"]
    if tuner not in TUNERS:
        yield Problem(where, f"use_vllm: vLLM cannot take over what {tuner} learns", f"It can with {', '.join(TUNERS)}.")
    bits, method = plan["quantization_bit"], plan["quantization_method"]
    if bits is None:
        return
    if plan["vllm_mode"] == "server":
        yield Problem(where, "vllm_mode: a server cannot take over quantised weights", "Write vllm_mode: colocate")
    elif bits != 4 or method not in ("bnb", "bitsandbytes"):
        yield Problem(where, f"use_vllm: vLLM cannot take over weights by {method} in {bits} bits", "Write quantization_bit: 4")


def _in_vain(plan: Plan) -> Iterator[Problem]:
    """Keys that would be ignored."""
    given = [name for name in VllmRolloutOptions.__dataclass_fields__ if plan.settings[name].given]
    mode = plan["vllm_mode"]
    for name in given:
        other = next((one for one, keys in OF_MODE.items() if name in keys and one != mode), "")
        if other:
            yield Problem(
                plan.settings[name].origin, f"{name} has no meaning with vllm_mode: {mode}", f"Write vllm_mode: {other}"
            )
        if name.startswith(PREFIX) and plan["stage"] != "grpo":
            yield Problem(plan.settings[name].origin, f"{name}: only grpo weighs tokens so", "Leave it out.")
