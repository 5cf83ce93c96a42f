"""What this package offers: the tuners ``prefix``, ``prompt``, ``p_tuning`` and ``multitask``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from tunesmith import AdapterMark, Problem, TunerSpec, hookimpl
from tunesmith.adapter_checks import not_with

if TYPE_CHECKING:
    from tunesmith.plan import Plan

TUNESMITH_API = (1, 0)


def _spec(name: str, summary: str, stem: str, peft_type: str) -> TunerSpec:
    return TunerSpec(
        name,
        f"tunesmith_prompt_learning.tuners:{stem}Tuner",
        summary,
        options=f"tunesmith_prompt_learning.options:{stem}Options",
        saves="adapter",
        marks=(AdapterMark("adapter_config.json", "peft_type", peft_type),),
        mergeable=False,
        over_quantized=True,
        disables=True,
        trainable="tunesmith_prompt_learning.counting:count_learning",
    )


SPECS = (
    _spec("prefix", "Keys and values in front of every layer's own learn.", "Prefix", "PREFIX_TUNING"),
    _spec("prompt", "Embeddings of virtual tokens in front of every text learn.", "Prompt", "PROMPT_TUNING"),
    _spec("p_tuning", "A small network that makes such embeddings learns.", "PTuning", "P_TUNING"),
    _spec(
        "multitask",
        "One prompt for several tasks, times a matrix of each one's own.",
        "Multitask",
        "MULTITASK_PROMPT_TUNING",
    ),
)
NAMES = frozenset(spec.name for spec in SPECS)


@hookimpl
def tunesmith_tuners() -> list[TunerSpec]:
    """Four ways to learn a prompt."""
    return list(SPECS)


@hookimpl
def tunesmith_check_plan(plan: Plan) -> Iterator[Problem]:
    """Runs in which a learned prompt cannot stand in front of every text."""
    for chosen in plan.picked("tuners"):
        if chosen.name in NAMES:
            yield from not_with(plan, chosen.name)
            yield from _problems(plan, chosen.name)


def _problems(plan: Plan, name: str) -> Iterator[Problem]:
    for key in ("packing", "neat_packing"):
        if _on(plan, key):
            what = f"{name} puts its prompt in front of a row, and {key} puts several texts into one"
            yield Problem(plan.settings[key].origin, what, f"Write {key}: false.")
    where = plan.settings["num_virtual_tokens"].origin
    if any(wish.head != "lm" for wish in plan.models.values()):
        yield Problem(
            where, f"{name} cannot learn a score: its prompt moves the token that the score is read from", "Use lora."
        )
    if any(dataset.kind == "prompt" for dataset in plan.datasets):
        yield Problem(where, f"{name} cannot be used where answers are generated while learning", "Use lora.")
    if name == "prefix" and plan.command == "train" and not _on(plan, "disable_gradient_checkpointing"):
        where = plan.settings.get("disable_gradient_checkpointing", plan.settings["num_virtual_tokens"]).origin
        what = "prefix cannot be learned with gradient checkpointing, which throws the prefix away"
        yield Problem(where, what, "Write disable_gradient_checkpointing: true.")
    yield from _option_problems(plan, name)


def _option_problems(plan: Plan, name: str) -> Iterator[Problem]:
    if name == "prompt" and plan["prompt_init"] == "text" and not plan["prompt_init_text"]:
        yield Problem(plan.settings["prompt_init"].origin, "prompt_init: text has no text", "Write prompt_init_text: …")
    if name == "prompt" and plan["prompt_init"] != "text" and plan["prompt_init_text"]:
        where = plan.settings["prompt_init_text"].origin
        yield Problem(where, "prompt_init_text is not used", "Write prompt_init: text too, or leave it out.")
    if name == "multitask" and plan["multitask_task"] >= plan["multitask_num_tasks"]:
        what = f"multitask_task is {plan['multitask_task']}, and multitask_num_tasks {plan['multitask_num_tasks']}"
        yield Problem(plan.settings["multitask_task"].origin, what, "Tasks are counted from 0.")


def _on(plan: Plan, key: str) -> bool:
    return key in plan.settings and bool(plan[key])
