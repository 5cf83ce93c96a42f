"""Rewards for how an answer looks."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from tunesmith.contracts import Reward
from tunesmith.data.conversation import Conversation, Thought, Turn
from tunesmith.plan import Plan

from tunesmith_reward_functions.options import FormatOptions, LengthOptions


class Format(Reward):
    """1 where the whole answer matches a regular expression, with dots that match line ends; else 0.

    Reasoning stands before the answer in ``<think>`` tags, whatever tags the model's own template has.
    """

    def __init__(self, plan: Plan) -> None:
        self.pattern = re.compile(plan.options(FormatOptions).reward_format, re.DOTALL)

    def score(
        self, prompts: Sequence[Conversation], completions: Sequence[Turn], extras: Sequence[Mapping[str, Any]]
    ) -> list[float]:
        """One score per completion."""
        return [float(self.pattern.fullmatch(written(turn)) is not None) for turn in completions]


class Length(Reward):
    """1 for an answer of as many words as are wanted; outside, the smaller the further: 0 for none, half for twice too many."""

    def __init__(self, plan: Plan) -> None:
        options = plan.options(LengthOptions)
        self.least, self.most = options.reward_min_words, options.reward_max_words

    def score(
        self, prompts: Sequence[Conversation], completions: Sequence[Turn], extras: Sequence[Mapping[str, Any]]
    ) -> list[float]:
        """One score per completion; reasoning does not count."""
        return [self._of(len(turn.text.split())) for turn in completions]

    def _of(self, words: int) -> float:
        if words < self.least:
            return words / self.least
        return min(1.0, self.most / max(words, 1))


def written(turn: Turn) -> str:
    """An answer with its reasoning in tags before it."""
    thoughts = "\n".join(part.text for part in turn.parts if isinstance(part, Thought))
    return f"<think>\n{thoughts}\n</think>\n\n{turn.text}" if thoughts else turn.text
