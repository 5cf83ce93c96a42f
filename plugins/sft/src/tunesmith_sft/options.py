"""The flat keys of the stage ``sft``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from tunesmith.options import Range
from tunesmith.roles import ReferenceOptions

#: The keys that choose another loss; at most one of them is on.
OTHER_LOSSES = ("use_dft_loss", "use_eaft_loss", "use_asft_loss")


@dataclass(frozen=True)
class SftOptions(ReferenceOptions):
    """What a token counts."""

    use_dft_loss: Annotated[bool, "Weight each token's loss by its probability (DFT)."] = False
    use_eaft_loss: Annotated[bool, "Weight each token's loss by the entropy of its prediction (EAFT)."] = False
    eaft_alpha: Annotated[float, "EAFT: exponent of that weight.", Range(least=0)] = 1.0
    use_asft_loss: Annotated[bool, "As DFT, and held near the reference model (ASFT)."] = False
    asft_alpha: Annotated[float, "ASFT: how strongly it is held.", Range(least=0)] = 0.1
    loss_normalization: Annotated[
        Literal["token", "sequence"], "The loss is a mean over tokens, or over sequences whatever their lengths."
    ] = "token"
