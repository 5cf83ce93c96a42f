"""The flat keys of the stage ``ppo``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from tunesmith.options import Range
from tunesmith.roles import ReferenceOptions, RewardFunctionOptions, RewardModelOptions


@dataclass(frozen=True)
class PpoOptions(RewardFunctionOptions, RewardModelOptions, ReferenceOptions):
    """How answers are rated and learned from; names after Schulman et al. 2017 and Ziegler et al. 2019."""

    ppo_buffer_size: Annotated[int, "Batches of experience gathered before learning.", Range(least=1)] = 1
    ppo_epochs: Annotated[int, "Times that gathered experience is learned from.", Range(least=1)] = 4
    ppo_score_norm: Annotated[bool, "Normalise scores by their mean and deviation so far."] = False
    ppo_target: Annotated[float, "Divergence that the penalty steers towards, in nats per answer.", Range(above=0)] = 6.0
    ppo_whiten_rewards: Annotated[bool, "Divide rewards by their deviation before advantages are computed."] = False
    ppo_kl_coef: Annotated[float, "Weight of the divergence from the reference model, to begin with.", Range(least=0)] = 0.2
    ppo_kl_horizon: Annotated[float, "Answers over which that weight adapts.", Range(above=0)] = 10000.0
    ppo_gamma: Annotated[float, "Discount of rewards that come later.", Range(above=0, most=1)] = 1.0
    ppo_lambda: Annotated[float, "Trade of bias for variance in advantages.", Range(least=0, most=1)] = 0.95
    ppo_clip: Annotated[float, "How far a token's probability ratio may move from 1.", Range(above=0)] = 0.2
    ppo_value_clip: Annotated[float, "How far a value may move from what it was.", Range(above=0)] = 0.2
    ppo_value_weight: Annotated[float, "Weight of the value loss.", Range(least=0)] = 0.1
