"""The flat keys of the tuner ``adapter``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from tunesmith.options import Range


@dataclass(frozen=True)
class BottleneckOptions:
    """Where the small networks sit and what they are made of."""

    bottleneck_type: Annotated[
        Literal["houlsby", "pfeiffer", "parallel"],
        "After attention and feed-forward part (houlsby), after the feed-forward part (pfeiffer), or beside it (parallel).",
    ] = "pfeiffer"
    bottleneck_reduction: Annotated[int, "How many times narrower than the model the middle is.", Range(least=1)] = 16
    bottleneck_size: Annotated[int | None, "Its width in numbers, instead of bottleneck_reduction.", Range(least=1)] = None
    bottleneck_activation: Annotated[
        Literal["relu", "gelu", "silu", "tanh", "identity"], "What bends the middle; with identity the adapter can be merged."
    ] = "relu"
    bottleneck_scaling: Annotated[float, "The network's output is multiplied by this; 4 in the paper of the parallel ones."] = (
        1.0
    )
    bottleneck_dropout: Annotated[float, "Dropout in the middle while learning.", Range(least=0, below=1)] = 0.0
