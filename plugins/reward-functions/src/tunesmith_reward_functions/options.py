"""The flat keys of the reward functions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from tunesmith.options import Range

#: Reasoning between tags, then an answer.
THINKING = r"\s*<think>\s*(?=\S)(?:(?!</?think>).)+</think>\s*(?=\S)(?:(?!</?think>).)+"


@dataclass(frozen=True)
class FormatOptions:
    """What an answer has to look like."""

    reward_format: Annotated[
        str, "Regular expression that a whole answer has to match, its reasoning in <think> tags before it."
    ] = THINKING


@dataclass(frozen=True)
class LengthOptions:
    """How long an answer should be."""

    reward_min_words: Annotated[int, "Words from which an answer is long enough.", Range(least=0)] = 0
    reward_max_words: Annotated[int, "Words up to which an answer is short enough.", Range(least=1)] = 100


@dataclass(frozen=True)
class MatchOptions:
    """What an answer is compared with."""

    reward_answer: Annotated[str, "Column of the dataset that holds the expected answer."] = "answer"


@dataclass(frozen=True)
class ExactOptions(MatchOptions):
    """How an answer is compared as text."""

    reward_ignore_case: Annotated[bool, "Take capital and small letters for the same."] = False


@dataclass(frozen=True)
class NumberOptions(MatchOptions):
    """How an answer is compared as a number."""

    reward_tolerance: Annotated[float, "Relative difference between numbers that counts as none.", Range(least=0)] = 1e-6


@dataclass(frozen=True)
class SchemaOptions:
    """What JSON an answer has to be."""

    reward_json_schema: Annotated[str | None, "File with the JSON Schema; nothing means that of each row."] = None
    reward_json_schema_column: Annotated[str, "Column of the dataset that holds the JSON Schema of its row."] = "json_schema"
