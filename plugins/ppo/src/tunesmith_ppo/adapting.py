"""Numbers that go along with a run: the weight of the divergence, and mean and deviation of scores so far."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from tunesmith_ppo.advantages import Summed


@dataclass
class DivergenceWeight:
    """Grows while the policy is further from the reference model than ``target``, and shrinks while it is nearer.

    The proportional controller of Ziegler et al. 2019 (arXiv:1909.08593), section 2.2.
    """

    value: float
    target: float
    horizon: float

    def see(self, divergence: float, answers: int) -> None:
        """Take note of the mean divergence of so many answers."""
        error = min(max(divergence / self.target - 1, -0.2), 0.2)
        self.value *= 1 + error * answers / self.horizon


@dataclass
class ScoreMoments:
    """Mean and variance of all scores so far, put together batch by batch (Chan et al. 1983)."""

    mean: float = 0.0
    variance: float = 1.0
    count: float = 1e-24

    def see(self, scores: torch.Tensor, summed: Summed) -> None:
        """Take note of scores, of shape (rows,), of all processes."""
        both = torch.stack([torch.ones_like(scores).double().sum(), scores.double().sum()])
        count, total = summed(both).tolist()
        mean = total / count
        spread = float(summed((scores.double() - mean).square().sum()[None]))
        whole, apart = self.count + count, mean - self.mean
        together = self.variance * self.count + spread + apart**2 * self.count * count / whole
        self.mean += apart * count / whole
        self.variance, self.count = together / whole, whole

    def normalised(self, scores: torch.Tensor) -> torch.Tensor:
        """Scores with the mean taken off, in deviations."""
        deviation = (self.variance * self.count / max(self.count - 1, 1)) ** 0.5
        return (scores - self.mean) / (deviation + 1e-8)

    def state(self) -> dict[str, float]:
        """For a checkpoint."""
        return {"mean": self.mean, "variance": self.variance, "count": self.count}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up what :meth:`state` gave."""
        self.mean, self.variance, self.count = (float(state[name]) for name in ("mean", "variance", "count"))
