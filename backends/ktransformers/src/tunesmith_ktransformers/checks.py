"""What speaks against a run with ``use_kt``, found while planning: without torch, and without the kernel."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from tunesmith import Lacking, Notice, Problem
from tunesmith.model_folder import read_json
from tunesmith.model_stores import place_in
from tunesmith.sizes import size_text

import tunesmith_ktransformers.converted as converted
import tunesmith_ktransformers.processor as processor
from tunesmith_ktransformers.facts import ACTIVATIONS, BLOCKS, ExpertFacts, facts_of
from tunesmith_ktransformers.kernel_wishes import Wishes, option_faults, wishes_of
from tunesmith_ktransformers.options import KtOptions

if TYPE_CHECKING:
    from tunesmith.plan import Plan

TUNERS = ("lora",)
#: Python, torch and the libraries, with room to breathe.
BESIDE = 1024**3


def findings(plan: Plan) -> Iterator[Problem | Notice]:
    """Everything about this plan that has to do with experts on the processor."""
    options = plan.options(KtOptions)
    faults = list(option_faults(options))
    yield from (Problem(_where(plan, key), what, instead) for key, what, instead in faults)
    yield from _combinations(plan)
    facts = model_facts(plan)
    if facts is not None and not faults:
        yield from _fitting(plan, facts, options)
    yield from _processor(_where(plan, "use_kt"))


def _where(plan: Plan, key: str) -> str:
    setting = plan.settings.get(key)
    return setting.origin if setting is not None and setting.origin != "default" else plan.settings["use_kt"].origin


def _combinations(plan: Plan) -> Iterator[Problem]:
    where = _where(plan, "use_kt")
    for chosen in plan.picked("tuners"):
        if chosen.name not in TUNERS:
            what = f"use_kt does not work with finetuning_type: {chosen.name}: the kernel's experts stay as they are"
            yield Problem(where, what, f"Write finetuning_type: {' or '.join(TUNERS)}.")
    for chosen in plan.picked("strategies"):
        if plan.spread.processes > 1:
            what = f"use_kt is for one process, and this run has {plan.spread.processes} ({chosen.name})"
            yield Problem(where, what, "Start one process; the experts use all cores of the machine.")
    policy = plan.models.get("policy")
    if policy is not None and policy.packed:
        yield Problem(where, f"use_kt needs plain weights, and {policy.quantizer.partition('@')[0]} packs them", "Use kt_bits.")
    for chosen in plan.picked("engines"):
        if chosen.name != "huggingface":
            what = f"use_kt works in the engine huggingface, not in {chosen.name}"
            yield Problem(where, what, "Write infer_backend: huggingface")
    checkpointing = plan.settings.get("disable_gradient_checkpointing")
    if plan.settings["kt_cpu_activation"].value == "recompute" and checkpointing is not None and checkpointing.value:
        what = "kt_cpu_activation: recompute saves little while torch keeps all other activations"
        yield Problem(_where(plan, "kt_cpu_activation"), what, "Leave disable_gradient_checkpointing out, or write retain.")


def model_facts(plan: Plan) -> ExpertFacts | None:
    """The policy's experts; ``None`` where the model is not here, or has none."""
    config = _model_config(plan)
    return facts_of(config) if config else None


def _model_config(plan: Plan) -> dict[str, object]:
    policy = plan.models.get("policy")
    if policy is None or not policy.path:
        return {}
    folder = place_in(plan, policy.path).folder
    return dict(read_json(folder, "config.json")) if folder is not None else {}


def no_experts(plan: Plan) -> Problem | None:
    """The complaint about a model that is here and has no experts."""
    config = _model_config(plan)
    if not config or facts_of(config) is not None:
        return None
    what = f"use_kt: {plan.models['policy'].path} ({config.get('model_type')}) is no mixture of experts"
    return Problem(_where(plan, "use_kt"), what, "Leave use_kt out.")


def planned_wishes(plan: Plan) -> Wishes:
    """How the kernel shall work in this run."""

    def value(key: str, otherwise: int) -> int:
        return int(plan.settings[key].value or otherwise) if key in plan.settings else otherwise

    trains = any(plan.picked("trainers"))
    rows = value("per_device_train_batch_size", 1) if trains else 1
    checkpointed = not trains or not value("disable_gradient_checkpointing", 0)
    return wishes_of(plan.options(KtOptions), tokens=rows * value("cutoff_len", 2048), checkpointed=checkpointed)


# ---- model, kernel and machine together ------------------------------------------------------------------------------


def _fitting(plan: Plan, facts: ExpertFacts, options: KtOptions) -> Iterator[Problem | Notice]:
    where, wishes = _where(plan, "use_kt"), planned_wishes(plan)
    if facts.activation not in ACTIVATIONS:
        what = f"kt-kernel computes experts with silu, and those of {facts.kind} have {facts.activation}"
        yield Problem(where, what, "Leave use_kt out.")
    if fault := block_fault(facts.hidden, facts.width, wishes.bits, wishes.pools):
        yield Problem(where, *fault)
    if options.kt_weight_path:
        yield from _converted(plan, facts, options.kt_weight_path, wishes)
    if options.kt_expert_checkpoint_path and not (Path(options.kt_expert_checkpoint_path) / "config.json").is_file():
        what = f"kt_expert_checkpoint_path: {options.kt_expert_checkpoint_path} is no model folder"
        yield Problem(_where(plan, "kt_expert_checkpoint_path"), what, "Give a folder with config.json and safetensors files.")
    if "full_determinism" in plan.settings and plan["full_determinism"] and wishes.threads != 1:
        what = f"full_determinism: kt-kernel sums gradients in the order in which its {wishes.threads} threads come"
        yield Problem(_where(plan, "full_determinism"), what, "Write kt_config: {kt_num_threads: 1}")
    yield from _memory(plan, facts, wishes)


def block_fault(hidden: int, width: int, bits: int, pools: int) -> tuple[str, str] | None:
    """What is wrong with these sizes, and what to do; nothing if the kernel can work with them."""
    block = BLOCKS[bits]
    if hidden % block or width % block:
        what = f"kt-kernel's {bits}-bit experts come in blocks of {block}, and here they are {hidden} → {width}"
        fitting = [other for other in sorted(BLOCKS, reverse=True) if not (hidden % BLOCKS[other] or width % BLOCKS[other])]
        return what, f"Write kt_bits: {' or '.join(map(str, fitting))}" if fitting else "Leave use_kt out."
    if width % (block * pools):
        what = f"experts of width {width} cannot be shared out over {pools} parts in blocks of {block}"
        return what, "Write kt_config: {kt_threadpool_count: 1}"
    return None


def _converted(plan: Plan, facts: ExpertFacts, folder: str, wishes: Wishes) -> Iterator[Problem]:
    where, found = _where(plan, "kt_weight_path"), converted.facts_in(folder)
    assert found is not None
    mine = {"layers": facts.layers, "count": facts.count, "hidden": facts.hidden, "width": facts.width, "pools": wishes.pools}
    other = {name: getattr(found, name) for name, value in mine.items() if getattr(found, name) != value}
    if other:
        words = ", ".join(f"{name} {value} instead of {mine[name]}" for name, value in other.items())
        again = "Convert the experts of this model, for this machine: tunesmith experts convert"
        yield Problem(where, f"kt_weight_path: {folder} holds other experts: {words}", again)
    elif wrong := converted.missing_files(folder, found):
        what = f"kt_weight_path: {len(wrong)} files are missing or cut short, the first {wrong[0]}"
        yield Problem(where, what, "Convert the experts again: tunesmith experts convert")


def _memory(plan: Plan, facts: ExpertFacts, wishes: Wishes) -> Iterator[Problem | Notice]:
    """The kernel's weights, and the model in 16 bits that is read before: it shrinks as the kernel's part grows."""
    held, plain = facts.held(wishes.bits), facts.held(16)
    other = plan.estimate.parts.get("weights", plain) - plain if plan.estimate is not None else 0
    need = max(held, plain) + held // max(1, facts.layers) + max(0, other) + BESIDE
    free = processor.free_memory()
    words = f"experts: {size_text(held)} in {wishes.bits} bits on the processor, {size_text(need)} while loading"
    if free and need > free:
        what = f"use_kt needs {size_text(need)} of memory while the model is loaded, and {size_text(free)} is free"
        yield Lacking(_where(plan, "use_kt"), what, "Free some, or use a machine with more; kt_bits changes what stays.")
    else:
        yield Notice(words)


def _processor(where: str) -> Iterator[Problem]:
    build = processor.best_build(processor.read_flags())
    if build not in processor.TRAINING_BUILDS:
        has = f"has {build.replace('_', ' ').upper()} at best" if build else "has no AVX2"
        what = f"kt-kernel's experts need AMX, or AVX512 with bfloat16, VNNI and VBMI; this processor {has}"
        yield Lacking(where, what, "Leave use_kt out here.")
