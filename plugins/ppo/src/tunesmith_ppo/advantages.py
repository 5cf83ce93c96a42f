"""From what each token brought to how much better it was than expected. Tables are (rows, length), padded right with zeros."""

from __future__ import annotations

from collections.abc import Callable

import torch

Summed = Callable[[torch.Tensor], torch.Tensor]


def token_rewards(scores: torch.Tensor, divergence: torch.Tensor, lengths: torch.Tensor, coefficient: float) -> torch.Tensor:
    """A penalty for each token's divergence, and at the last one the answer's score (Ziegler et al. 2019, arXiv:1909.08593).

    :param scores: (rows,).
    :param divergence: log-probability of each token minus the reference model's, zero in padding.
    :param lengths: tokens of each answer, (rows,).
    """
    rewards = -coefficient * divergence
    rows = torch.arange(len(scores), device=scores.device)
    rewards[rows, lengths - 1] += scores
    return rewards


def estimate(rewards: torch.Tensor, values: torch.Tensor, gamma: float, lam: float) -> torch.Tensor:
    """Generalised advantage estimation (Schulman et al. 2016, arXiv:1506.02438); after an answer's end nothing is to be had.

    Returns are what this gives plus ``values``.
    """
    following = torch.cat([values[:, 1:], values.new_zeros(len(values), 1)], dim=1)
    errors = rewards + gamma * following - values
    advantages = torch.zeros_like(errors)
    carried = errors.new_zeros(len(errors))
    for at in reversed(range(errors.shape[1])):
        carried = errors[:, at] + gamma * lam * carried
        advantages[:, at] = carried
    return advantages


def whiten(table: torch.Tensor, mask: torch.Tensor, summed: Summed, *, centre: bool = True) -> torch.Tensor:
    """Give what ``mask`` covers unit variance, over all processes, and a mean of 0 unless ``centre`` is false.

    :param summed: adds a tensor up over all processes.
    """
    count, total = summed(torch.stack([mask.sum().double(), (table * mask).sum().double()])).tolist()
    mean = total / max(count, 1.0)
    spread = float(summed(((table.double() - mean).square() * mask).sum()[None])) / max(count - 1.0, 1.0)
    white = (table - mean) * (spread + 1e-8) ** -0.5
    return (white if centre else white + mean) * mask
