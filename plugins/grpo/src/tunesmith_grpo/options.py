"""The flat keys of the stages ``grpo``, ``rloo`` and ``distill``, named as trl names them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from tunesmith.options import Range
from tunesmith.roles import ReferenceOptions, RewardFunctionOptions, RewardModelOptions


@dataclass(frozen=True)
class AnsweringOptions:
    """How prompts are answered."""

    use_transformers_continuous_batching: Annotated[
        bool, "Answer in transformers' continuous batching, where an answer that ends makes room for another."
    ] = False
    transformers_continuous_batching_config: Annotated[
        dict[str, Any] | None, "Fields of its configuration; nothing means a pool that holds all answers of a round."
    ] = None


@dataclass(frozen=True)
class ToolOptions:
    """What a model may call while it answers."""

    tools: Annotated[tuple[str, ...], "Names of tools that the model may call while it answers."] = ()
    max_tool_calling_iterations: Annotated[
        int | None, "Rounds of calls in an answer; nothing means as many as there is room for.", Range(least=1)
    ] = None


@dataclass(frozen=True)
class GroupOptions(AnsweringOptions, RewardFunctionOptions, RewardModelOptions, ReferenceOptions):
    """What both stages share: how prompts are answered, and how far the policy may move."""

    num_generations: Annotated[int, "Answers to each prompt, which are compared with each other.", Range(least=2)] = 8
    num_iterations: Annotated[int, "Times that answers are learned from.", Range(least=1)] = 1
    steps_per_generation: Annotated[
        int | None, "Batches that are answered at once; nothing means those of one step.", Range(least=1)
    ] = None
    beta: Annotated[float, "Weight of the divergence from the reference model; 0 needs none.", Range(least=0)] = 0.0
    epsilon: Annotated[float, "How far a probability ratio may move from 1.", Range(above=0)] = 0.2
    epsilon_high: Annotated[float | None, "The same upwards, where it differs.", Range(above=0)] = None
    mask_truncated_completions: Annotated[bool, "Learn nothing from answers that were cut off."] = False


@dataclass(frozen=True)
class GrpoOptions(GroupOptions, ToolOptions):
    """How answers of a group are weighed against each other."""

    loss_type: Annotated[
        Literal["grpo", "dr_grpo", "dapo", "bnpo", "cispo", "sapo", "luspo", "vespo"], "How token losses are put together."
    ] = "dapo"
    scale_rewards: Annotated[Literal["group", "batch", "none"], "By whose deviation rewards are divided."] = "group"
    importance_sampling_level: Annotated[Literal["token", "sequence"], "What a probability ratio is taken of (GSPO)."] = "token"
    delta: Annotated[float | None, "Upper bound of ratios where the advantage is negative.", Range(above=1)] = None
    top_entropy_quantile: Annotated[float, "Share of tokens, the least certain, to learn from.", Range(above=0, most=1)] = 1.0
    entropy_coef: Annotated[float, "Weight of a bonus for uncertainty.", Range(least=0)] = 0.0


@dataclass(frozen=True)
class RlooOptions(GroupOptions):
    """How answers of a group are measured by the others."""

    normalize_advantages: Annotated[bool, "Give advantages unit variance."] = False


@dataclass(frozen=True)
class DistillOptions(AnsweringOptions, ToolOptions):
    """Who teaches, and what is made small."""

    teacher_model: Annotated[str | None, "Model to learn from; it has the same tokenizer."] = None
    teacher_model_adapters: Annotated[tuple[str, ...], "Adapters of the teacher."] = ()
    teacher_model_quantization_bit: Annotated[int | None, "Load the teacher in this many bits.", Range(least=1, most=8)] = None
    distill_beta: Annotated[
        float,
        "0: the teacher's divergence from the student, 1: the student's from the teacher.",
        Range(least=0, most=1),
    ] = 1.0
