"""What this package offers: the stages ``grpo``, ``rloo`` and ``distill``, and a tool that answers may call."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from tunesmith import AcceleratorSpec, Problem, StackSpec, Switch, ToolSpec, TrainerSpec, hookimpl
from tunesmith.roles import POLICY, REFERENCE, REWARD, weight_problems
from tunesmith.specs import Role

if TYPE_CHECKING:
    from tunesmith.plan import Plan

TUNESMITH_API = (1, 0)


def asks_a_model(value: Callable[[str], Any]) -> bool:
    """Whether a reward model rates answers: unless functions do, and none is named."""
    return bool(value(REWARD.model)) or not value("reward_funcs")


def compares(value: Callable[[str], Any]) -> bool:
    """Whether there is a reference model."""
    return bool(value("beta"))


ROLES = (
    POLICY,
    replace(REFERENCE, needed="tunesmith_grpo.plugin:compares"),
    replace(REWARD, needed="tunesmith_grpo.plugin:asks_a_model"),
)
#: What is learned are the probabilities of all tokens, so all of them are drawn from.
DRAWN = {"temperature": 1.0, "top_p": 1.0, "top_k": 0, "max_new_tokens": 512}
GRPO = TrainerSpec(
    "grpo",
    "tunesmith_grpo.stages:GrpoStage",
    "Answer each prompt several times and learn from the better answers (GRPO).",
    options="tunesmith_grpo.options:GrpoOptions",
    wants=("prompt",),
    roles=ROLES,
    defaults=DRAWN,
)
RLOO = TrainerSpec(
    "rloo",
    "tunesmith_grpo.stages:RlooStage",
    "Answer each prompt several times and measure each by the others (RLOO).",
    options="tunesmith_grpo.options:RlooOptions",
    wants=("prompt",),
    roles=ROLES,
    defaults=DRAWN,
)
DISTILL = TrainerSpec(
    "distill",
    "tunesmith_grpo.stages:DistillStage",
    "Answer prompts and learn each token from a teacher (on-policy distillation).",
    options="tunesmith_grpo.options:DistillOptions",
    wants=("prompt",),
    roles=(
        POLICY,
        Role("teacher", "teacher_model", "teacher_model_adapters", "teacher_model_quantization_bit"),
    ),
    defaults=DRAWN,
)
STAGES = (GRPO, RLOO, DISTILL)
CALCULATOR = ToolSpec(
    "calculator",
    "tunesmith_grpo.calculator:Calculator",
    "Arithmetic on numbers, for models that learn to call tools.",
    description="Works out an arithmetic expression.",
    parameters={
        "type": "object",
        "properties": {"expression": {"type": "string", "description": "Numbers with + - * / // % ** and parentheses."}},
        "required": ["expression"],
    },
)
VLLM = AcceleratorSpec(
    "vllm-rollouts",
    "tunesmith_grpo.vllm_rollouts:VllmRollouts",
    "Answers by vLLM while grpo, rloo and distill learn.",
    options="tunesmith_grpo.vllm_options:VllmRolloutOptions",
    needs=("vllm",),
    stack="vllm-rollouts",
    switch=Switch("use_vllm"),
    kernels=("cutlass",),
    elsewhere="Leave out use_vllm: transformers answers, or its continuous batching.",
    excludes=("unsloth", "ktransformers"),
)
#: trl 1.16 knows vLLM up to 0.31, which pins torch and wants an older transformers than everybody else here.
STACK = StackSpec(
    "vllm-rollouts",
    "vLLM beside what learns, and the versions that both accept.",
    requirements=("torch==2.13.0", "vllm==0.31.0", "trl>=1.16,<1.17", "transformers>=5.16,<5.18", "requests>=2.33"),
    pins=("torch==2.13.0", "transformers>=5.10.4,<5.18.0", "numba==0.65.0"),
)
#: Keys that no stage here can honour, each with the reason and what to write instead.
REFUSED = {
    "do_predict": ("answers are not kept", "Use do_eval: true, or predict with stage: sft."),
    "predict_with_generate": ("answers are not kept", "Use do_eval: true."),
    "streaming": ("prompts are answered in groups, for which all of them have to be there", "Write streaming: false"),
}


@hookimpl
def tunesmith_trainers() -> list[TrainerSpec]:
    """Three stages."""
    return list(STAGES)


@hookimpl
def tunesmith_tools() -> list[ToolSpec]:
    """One tool."""
    return [CALCULATOR]


@hookimpl
def tunesmith_accelerators() -> list[AcceleratorSpec]:
    """Answers by vLLM."""
    return [VLLM]


@hookimpl
def tunesmith_stacks() -> list[StackSpec]:
    """Where vLLM and what learns live together."""
    return [STACK]


@hookimpl
def tunesmith_check_plan(plan: Plan) -> Iterator[Problem]:
    """What these stages cannot do, known before anything is loaded."""
    if any(chosen.name == VLLM.name for chosen in plan.picked("accelerators")):
        from tunesmith_grpo.vllm_checks import problems

        yield from problems(plan, tuple(one.name for one in STAGES))
    stage = next((chosen.name for chosen in plan.picked("trainers")), "")
    if stage not in {one.name for one in STAGES}:
        return
    for key, (why, hint) in REFUSED.items():
        if plan[key]:
            yield Problem(plan.settings[key].origin, f"{key}: {why}", hint)
    if plan["num_beams"] > 1:
        yield Problem(plan.settings["num_beams"].origin, "num_beams: answers to learn from are drawn", "Write num_beams: 1")
    if stage == RLOO.name and "tools" in plan.unused:
        yield Problem(plan.unused["tools"].origin, "tools: trl's RLOO calls none", "Write stage: grpo, or leave them out.")
    yield from _answering(plan)
    yield from _teacher(plan) if stage == DISTILL.name else _group(plan)


#: Fields of transformers' configuration that would change what is drawn, or that a run cannot keep.
OUT_OF_PLACE = ("seed", "per_request_processors", "drop_unsupported_processors", "return_logprobs")


def _answering(plan: Plan) -> Iterator[Problem]:
    """What continuous batching cannot do, and would leave out with a warning at most."""
    config, penalty = plan["transformers_continuous_batching_config"], plan["repetition_penalty"]
    if not plan["use_transformers_continuous_batching"]:
        return
    if penalty != 1:
        what = "repetition_penalty: transformers' continuous batching does not apply it"
        yield Problem(plan.settings["repetition_penalty"].origin, what, "Write repetition_penalty: 1.0")
    for field in OUT_OF_PLACE:
        if config and field in config:
            where = plan.settings["transformers_continuous_batching_config"].origin
            yield Problem(where, f"transformers_continuous_batching_config: {field} is the run's own", "Leave it out.")


def _teacher(plan: Plan) -> Iterator[Problem]:
    teacher = plan.models.get("teacher")
    if teacher is not None and teacher.base_of and not teacher.adapters:
        where = plan.settings["teacher_model"].origin
        yield Problem(where, "teacher_model: the model has nothing to learn from itself", "Name another model.")


def _group(plan: Plan) -> Iterator[Problem]:
    """Several answers to a prompt, all of them learned from together."""
    yield from weight_problems(plan)
    if not plan["do_sample"] or not plan["temperature"]:
        key = "temperature" if plan["do_sample"] else "do_sample"
        yield Problem(plan.settings[key].origin, f"{key}: answers to one prompt have to differ", "Leave it out.")
    steps = plan["steps_per_generation"] or plan["gradient_accumulation_steps"]
    batch, count = plan["per_device_train_batch_size"], plan["num_generations"]
    if isinstance(batch, int) and (batch * steps) % count:
        what = f"{steps} batches of {batch} are {batch * steps} answers, which num_generations: {count} does not divide"
        hint = f"Write per_device_train_batch_size: {count}, or another num_generations."
        yield Problem(plan.settings["num_generations"].origin, what, hint)
