"""What rates answers, and what a model may call while it answers; re-exported by :mod:`tunesmith.contracts`."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from tunesmith.data.conversation import Conversation, Turn

if TYPE_CHECKING:
    from tunesmith.plan import Plan

#: What a tool raises where it is asked for something that it cannot do: the model gets to read it.
MISTAKES = (ValueError, TypeError, LookupError, ArithmeticError)


class Reward(Protocol):
    """Scores completions. Made as ``reward(plan)``."""

    @abstractmethod
    def score(
        self, prompts: Sequence[Conversation], completions: Sequence[Turn], extras: Sequence[Mapping[str, Any]]
    ) -> list[float]:
        """One score per completion; ``extras`` are the row's other columns."""


class Tool(Protocol):
    """Something that a model may call. Made as ``tool(plan)``, anew for each answer, so that it may remember earlier calls."""

    def __init__(self, plan: Plan) -> None: ...

    @abstractmethod
    def call(self, arguments: Mapping[str, Any], row: Mapping[str, Any]) -> str:
        """What the model gets to read.

        :param arguments: as the model wrote them: nobody has checked them.
        :param row: the other columns of the prompt's row.
        :raises ValueError, TypeError, LookupError, ArithmeticError: it cannot be done; the model reads why. Anything else ends
            the run.
        """
