"""The flat keys of the tuners that learn a prompt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from tunesmith.options import Range


@dataclass(frozen=True)
class PromptLearningOptions:
    """What all of them share."""

    num_virtual_tokens: Annotated[int, "Virtual tokens that are learned in front of every text.", Range(least=1)] = 20


@dataclass(frozen=True)
class PromptOptions(PromptLearningOptions):
    """Prompt tuning: the virtual tokens' embeddings learn."""

    prompt_init: Annotated[
        Literal["random", "sample_vocab", "text"], "Start from random numbers, from words drawn at random, or from a text."
    ] = "random"
    prompt_init_text: Annotated[str | None, "The text that prompt_init: text starts from."] = None


@dataclass(frozen=True)
class PTuningOptions(PromptLearningOptions):
    """P-tuning: a small network makes the virtual tokens' embeddings."""

    p_tuning_encoder: Annotated[Literal["mlp", "lstm"], "The kind of that network."] = "mlp"
    p_tuning_hidden_size: Annotated[int | None, "Its width; nothing given means that of the model.", Range(least=1)] = None
    p_tuning_num_layers: Annotated[int, "Layers of an lstm.", Range(least=1)] = 2
    p_tuning_dropout: Annotated[float, "Dropout in an lstm.", Range(least=0, below=1)] = 0.0


@dataclass(frozen=True)
class PrefixOptions(PromptLearningOptions):
    """Prefix tuning: keys and values in front of every layer's own learn."""

    prefix_projection: Annotated[bool, "A small network makes them, as in the paper, instead of learning them as they are."] = (
        False
    )
    prefix_hidden_size: Annotated[int | None, "Its width; nothing given means that of the model.", Range(least=1)] = None


@dataclass(frozen=True)
class MultitaskOptions(PromptLearningOptions):
    """Multitask prompt tuning: one prompt for several tasks, times a low-rank matrix of each task's own."""

    multitask_num_tasks: Annotated[int, "How many tasks share the prompt.", Range(least=1)] = 1
    multitask_task: Annotated[int, "Which of them, counted from 0, this run's rows belong to.", Range(least=0)] = 0
    multitask_rank: Annotated[int, "Rank of the tasks' own matrices.", Range(least=1)] = 1
