"""Rewards for answers that are as expected."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from tunesmith.contracts import Reward
from tunesmith.data.conversation import Conversation, Turn
from tunesmith.errors import TunesmithError
from tunesmith.plan import Plan

from tunesmith_reward_functions.options import ExactOptions, NumberOptions

_NUMBER = re.compile(r"(?<![\w.])[-+−]?(?:\d{1,3}(?:,\d{3})+|\d+)?(?:\.\d+)?(?:[eE][-+]?\d+)?(?![\w])")
#: Where final answers stand: LaTeX's box, and the mark of GSM8K (Cobbe et al. 2021, arXiv:2110.14168).
_FINAL = re.compile(r"\\boxed\{([^{}]*)\}|####\s*([^\n]*)")


class Exact(Reward):
    """1 where the answer is the expected one; white space counts no more than as a border between words."""

    def __init__(self, plan: Plan) -> None:
        options = plan.options(ExactOptions)
        self.column, self.ignore_case = options.reward_answer, options.reward_ignore_case

    def score(
        self, prompts: Sequence[Conversation], completions: Sequence[Turn], extras: Sequence[Mapping[str, Any]]
    ) -> list[float]:
        """One score per completion.

        :raises TunesmithError: a row has no such column.
        """
        pairs = zip(completions, extras, strict=True)
        return [float(self._plain(turn.text) == self._plain(str(expected(row, self.column)))) for turn, row in pairs]

    def _plain(self, text: str) -> str:
        words = " ".join(text.split())
        return words.casefold() if self.ignore_case else words


class Number(Reward):
    r"""1 where the final number of the answer equals that of the expected answer.

    That is the number in the last ``\boxed{}`` or after the last ``####``, and where there is neither, the last number of all.
    """

    def __init__(self, plan: Plan) -> None:
        options = plan.options(NumberOptions)
        self.column, self.tolerance = options.reward_answer, options.reward_tolerance

    def score(
        self, prompts: Sequence[Conversation], completions: Sequence[Turn], extras: Sequence[Mapping[str, Any]]
    ) -> list[float]:
        """One score per completion.

        :raises TunesmithError: a row has no such column, or there is no number in it.
        """
        return [self._of(turn.text, row) for turn, row in zip(completions, extras, strict=True)]

    def _of(self, answer: str, row: Mapping[str, Any]) -> float:
        wanted, found = final_number(str(expected(row, self.column))), final_number(answer)
        if wanted is None:
            raise TunesmithError(
                f"The column {self.column} holds no number: {row[self.column]!r}", "Write reward_answer: COLUMN"
            )
        return float(found is not None and math.isclose(found, wanted, rel_tol=self.tolerance, abs_tol=self.tolerance))


def final_number(text: str) -> float | None:
    """The number that ``text`` comes to, or ``None``; ``1,234.5``, ``-3`` and ``2e-3`` are numbers."""
    marked = [first or second for first, second in _FINAL.findall(text)]
    for place in ([marked[-1]] if marked else []) + [text]:
        numbers = [one for one in _NUMBER.findall(place) if any(map(str.isdigit, one))]
        if numbers:
            return float(numbers[-1].replace(",", "").replace("−", "-"))
    return None


def expected(row: Mapping[str, Any], column: str) -> Any:
    """The expected answer of a row.

    :raises TunesmithError: it has none.
    """
    if row.get(column) is None:
        there = ", ".join(name for name, value in row.items() if value is not None) or "no other columns at all"
        raise TunesmithError(f"A row has no column {column} to compare answers with.", f"Write reward_answer: one of {there}.")
    return row[column]
