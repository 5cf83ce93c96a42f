"""The flat key of the quantizer ``hqq``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from tunesmith.options import Range


@dataclass(frozen=True)
class HqqOptions:
    """How numbers are laid out."""

    hqq_group_size: Annotated[int, "How many weights of a row share a scale; a multiple of 8.", Range(least=8, most=1024)] = 64
