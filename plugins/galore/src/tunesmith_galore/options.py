"""The flat keys of the optimizer ``galore``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from tunesmith.options import Range


@dataclass(frozen=True)
class GaloreOptions:
    """Whose gradients are projected, to how few dimensions, and how often the subspace is looked for anew."""

    use_galore: Annotated[bool, "Train with GaLore: Adam on gradients projected to few dimensions."] = False
    galore_target: Annotated[
        tuple[str, ...], "Linear layers whose gradients are projected: names such as q_proj, or all but the output head."
    ] = ("all",)
    galore_rank: Annotated[int, "Dimensions that a gradient is projected to.", Range(least=1)] = 16
    galore_update_interval: Annotated[int, "Steps before the subspace is looked for anew.", Range(least=1)] = 200
    galore_scale: Annotated[float, "Factor of a projected step.", Range(above=0)] = 2.0
    galore_proj_type: Annotated[
        Literal["std", "reverse_std", "right", "left", "full"],
        "Which side of a gradient shrinks: the shorter one (std), the longer one, columns, rows, or both.",
    ] = "std"
    galore_layerwise: Annotated[bool, "Move each weight as soon as its gradient is there, and let the gradient go."] = False
    galore_quantize: Annotated[
        bool, "Hold subspaces in 4 bits, and look for new ones half as often where they stay alike (of Q-GaLore)."
    ] = False
    galore_8bit: Annotated[bool, "Hold Adam's moments in 8 bits (of Q-GaLore); needs the package bitsandbytes."] = False
