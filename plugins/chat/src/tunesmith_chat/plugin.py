"""What this package offers."""

from __future__ import annotations

TUNESMITH_API = (1, 0)
