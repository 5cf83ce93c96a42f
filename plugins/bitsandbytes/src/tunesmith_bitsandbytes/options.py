"""The flat keys of the quantizer ``bitsandbytes``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal


@dataclass(frozen=True)
class BitsandbytesOptions:
    """How four bits are laid out, and where a quantised model lies."""

    quantization_type: Annotated[
        Literal["nf4", "fp4"], "Number format of 4-bit weights: normal float (QLoRA's) or floating point."
    ] = "nf4"
    double_quantization: Annotated[bool, "Quantise the scales of 4-bit weights as well."] = True
    quantization_device_map: Annotated[
        Literal["auto"] | None, "Spread a 4-bit model over the devices that are here; not while training."
    ] = None
