"""The flat key of the accelerator ``offload``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated


@dataclass(frozen=True)
class OffloadOptions:
    """Where checkpointed activations wait for the backward pass."""

    use_unsloth_gc: Annotated[
        bool, "Hold the activations that gradient checkpointing keeps in CPU memory instead of on the device."
    ] = False
