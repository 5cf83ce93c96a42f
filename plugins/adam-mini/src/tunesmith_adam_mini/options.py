"""The flat key of the optimizer ``adam-mini``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated


@dataclass(frozen=True)
class AdamMiniOptions:
    """Whether it is on."""

    use_adam_mini: Annotated[bool, "Train with Adam-mini: one second moment for each head or neuron."] = False
