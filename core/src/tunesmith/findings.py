"""What a look at the installation comes to, line by line."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "warn", "fail"]


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at: how it is, and what mends it."""

    level: Level
    what: str
    fix: str = ""
