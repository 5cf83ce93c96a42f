"""The flat keys of the accelerator ``cross-entropy``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from tunesmith.options import Range


@dataclass(frozen=True)
class CrossEntropyOptions:
    """Logits of a few tokens at a time."""

    chunked_cross_entropy: Annotated[
        bool, "Compute the loss in chunks of tokens, so that all logits are never there at once."
    ] = False
    cross_entropy_chunk: Annotated[int, "Tokens whose logits are held at once.", Range(least=1)] = 1024
