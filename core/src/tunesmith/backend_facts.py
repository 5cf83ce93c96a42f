"""What a backend says about itself: whether it is here, and how its memory is used."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Probe:
    """Whether a backend is here. ``reason`` says why not, in words a user can act on; ``devices`` counts them.

    ``memory`` is what the smallest of them has in all, in bytes; 0 where that cannot be known without torch.
    """

    here: bool
    reason: str = ""
    devices: int = 0
    memory: int = 0
    detail: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Memory:
    """Bytes on one device: in use by us, the highest so far, free, and all there is."""

    used: int
    peak: int
    free: int
    total: int
