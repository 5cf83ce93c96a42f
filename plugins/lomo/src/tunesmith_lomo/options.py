"""The flat key of the optimizers ``lomo`` and ``adalomo``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from tunesmith.options import Range


@dataclass(frozen=True)
class LomoOptions:
    """How far a single number of a gradient may go."""

    lomo_clip_value: Annotated[
        float | None,
        "Keep each number of a gradient between minus and plus this; the norm of all cannot be known.",
        Range(above=0),
    ] = None
