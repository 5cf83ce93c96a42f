"""The flat keys of the optimizer ``muon``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from tunesmith.options import Range


@dataclass(frozen=True)
class MuonOptions:
    """Whether it is on, its momentum, and how its rate relates to Adam's."""

    use_muon: Annotated[bool, "Train matrices with Muon, and everything else with AdamW."] = False
    muon_momentum: Annotated[
        float, "Share of the running sum of gradients that stays at each step.", Range(least=0, below=1)
    ] = 0.95
    muon_adjust_lr: Annotated[
        Literal["match_rms_adamw", "original"],
        "Make steps as long as AdamW's, so that its learning rates fit, or scale them by √(rows / columns) as first published.",
    ] = "match_rms_adamw"
