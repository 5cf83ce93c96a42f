"""The flat keys of the accelerator ``longlora``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated


@dataclass(frozen=True)
class LongLoraOptions:
    """Attention in groups."""

    shift_attn: Annotated[
        bool, "While it learns, let the model attend within quarters of a row, which half the heads shift by half a quarter."
    ] = False
