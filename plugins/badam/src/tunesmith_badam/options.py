"""The flat keys of the optimizer ``badam``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from tunesmith.options import Range


@dataclass(frozen=True)
class BadamOptions:
    """What learns at a time, and for how long."""

    use_badam: Annotated[bool, "Train with BAdam: Adam on one part of the weights after the other."] = False
    badam_mode: Annotated[Literal["layer", "ratio"], "Train one block of layers, or a share of all weights, at a time."] = (
        "layer"
    )
    badam_start_block: Annotated[int | None, "Layer to start with, counted from 0.", Range(least=0)] = None
    badam_switch_mode: Annotated[
        Literal["ascending", "descending", "random", "fixed"] | None,
        "Order of the layers; fixed stays at the first, null is ascending.",
    ] = "ascending"
    badam_switch_interval: Annotated[
        int | None, "Steps before the next layer, or the next share; -1 or null stays.", Range(least=-1)
    ] = 50
    badam_update_ratio: Annotated[float, "Share of the weights that learns at a time (ratio).", Range(above=0, most=1)] = 0.05
    badam_mask_mode: Annotated[
        Literal["adjacent", "scatter"], "Whether the numbers of that share lie side by side or anywhere (ratio)."
    ] = "adjacent"
    badam_verbose: Annotated[int, "Log each change of layer (1), and its weights (2).", Range(least=0, most=2)] = 0
