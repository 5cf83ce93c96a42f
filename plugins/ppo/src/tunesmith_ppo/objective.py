"""The clipped objective of policy and value (Schulman et al. 2017, arXiv:1707.06347)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from tunesmith_ppo.options import PpoOptions
from tunesmith_ppo.reading import Said


@dataclass(frozen=True)
class Losses:
    """Each of shape (tokens,).

    :param policy: with gradients.
    :param value: with gradients; half the squared error, clipped.
    :param clipped: 1 where the probability ratio was clipped.
    :param moved: the estimate of how far the policy has moved since the answers were given, (ratio - 1) - log(ratio).
    """

    policy: torch.Tensor
    value: torch.Tensor
    clipped: torch.Tensor
    moved: torch.Tensor


def losses_of(said: Said, then: Mapping[str, torch.Tensor], options: PpoOptions) -> Losses:
    """Compare what the policy says now with what it said when it answered.

    :param then: ``logprobs``, ``values``, ``advantages`` and ``returns``, each (tokens,).
    """
    assert said.values is not None
    log_ratio = said.logprobs - then["logprobs"]
    ratio = log_ratio.exp()
    free = -then["advantages"] * ratio
    held = -then["advantages"] * ratio.clamp(1 - options.ppo_clip, 1 + options.ppo_clip)
    near = then["values"] + (said.values - then["values"]).clamp(-options.ppo_value_clip, options.ppo_value_clip)
    error = torch.maximum((said.values - then["returns"]).square(), (near - then["returns"]).square()) / 2
    with torch.no_grad():
        clipped, moved = (held > free).float(), ratio - 1 - log_ratio
    return Losses(torch.maximum(free, held), error, clipped, moved)
