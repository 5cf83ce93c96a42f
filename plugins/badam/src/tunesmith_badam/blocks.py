"""Which weights make up a block, by their names. No torch."""

from __future__ import annotations

import re

LAYER = re.compile(r"(.*?\.\d+)\.")


def block_of(name: str) -> str:
    """The layer that a weight belongs to (``model.layers.3``), or the empty string for embeddings, last norm and head."""
    found = LAYER.match(name)
    return found.group(1) if found else ""
