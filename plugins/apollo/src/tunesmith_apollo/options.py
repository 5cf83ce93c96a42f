"""The flat keys of the optimizer ``apollo``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from tunesmith.options import Range


@dataclass(frozen=True)
class ApolloOptions:
    """Whose gradients are scaled, by what is learned in how few dimensions, and what shares one scale."""

    use_apollo: Annotated[bool, "Train with APOLLO: gradients scaled as Adam in few dimensions would."] = False
    apollo_target: Annotated[
        tuple[str, ...], "Linear layers whose gradients are scaled: names such as q_proj, or all but the output head."
    ] = ("all",)
    apollo_rank: Annotated[int, "Dimensions that Adam sees; 1 for APOLLO-Mini.", Range(least=1)] = 16
    apollo_update_interval: Annotated[int, "Steps before the subspace is drawn anew.", Range(least=1)] = 200
    apollo_scale: Annotated[
        float, "Its square root is the factor of a scaled step; 128 with rank 1 for APOLLO-Mini.", Range(above=0)
    ] = 32.0
    apollo_proj: Annotated[Literal["svd", "random"], "Subspace of the largest singular vectors, or a random one."] = "random"
    apollo_proj_type: Annotated[
        Literal["std", "right", "left"], "Which side of a gradient shrinks: the shorter one, columns, or rows."
    ] = "std"
    apollo_scale_type: Annotated[
        Literal["channel", "tensor"], "What shares one scale: a channel, or the whole weight as in APOLLO-Mini."
    ] = "channel"
    apollo_layerwise: Annotated[bool, "Move each weight as soon as its gradient is there, and let the gradient go."] = False
    apollo_scale_front: Annotated[bool, "Apply the factor before the growth of a step is limited, not after."] = False
