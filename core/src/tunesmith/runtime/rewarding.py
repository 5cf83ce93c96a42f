"""Reward functions of a run: what ``reward_funcs`` names, made once and asked about many answers at a time."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from tunesmith.contracts import Reward
from tunesmith.data.conversation import Prompt, Turn
from tunesmith.errors import TunesmithError
from tunesmith.plan import Plan
from tunesmith.plugins import Plugins


class RewardFunctions:
    """The picked reward functions, in the order in which they are named, each with its weight."""

    def __init__(self, plan: Plan, plugins: Plugins) -> None:
        chosen = list(plan.picked("rewards"))
        self.names = tuple(one.name for one in chosen)
        self.weights = tuple(float(weight) for weight in plan["reward_weights"]) or (1.0,) * len(chosen)
        self._rewards: list[Reward] = [plugins.rewards.get(one.wanted).load()(plan) for one in chosen]

    def __len__(self) -> int:
        return len(self.names)

    def score(self, prompts: Sequence[Prompt], answers: Sequence[Turn]) -> torch.Tensor:
        """Scores of shape (answers, functions), in float32 and without weights.

        :raises TunesmithError: a function gives anything but one finite number to each answer.
        """
        columns = [self.column(at, prompts, answers) for at in range(len(self))]
        return torch.tensor(columns, dtype=torch.float32).reshape(len(self), len(answers)).T

    def total(self, scores: torch.Tensor) -> torch.Tensor:
        """The weighted sum of what :meth:`score` gave: (answers,)."""
        return scores @ torch.tensor(self.weights, dtype=scores.dtype, device=scores.device)

    def column(self, at: int, prompts: Sequence[Prompt], answers: Sequence[Turn]) -> list[float]:
        """What the function number ``at`` gives to each answer.

        :raises TunesmithError: as :meth:`score`.
        """
        asked, extras = [one.conversation for one in prompts], [one.extras for one in prompts]
        found = self._rewards[at].score(asked, answers, extras)
        if len(found) != len(answers) or not all(math.isfinite(score) for score in found):
            raise TunesmithError(
                f"The reward function {self.names[at]} gave {len(found)} scores to {len(answers)} answers, or one that is no "
                "finite number.",
                "It is a fault of the plugin that brings it.",
            )
        return [float(score) for score in found]
