"""The flat key of the accelerator ``unsloth``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated


@dataclass(frozen=True)
class UnslothOptions:
    """Loading and training by unsloth."""

    use_unsloth: Annotated[bool, "Load and train through unsloth, in a stack of its own."] = False
