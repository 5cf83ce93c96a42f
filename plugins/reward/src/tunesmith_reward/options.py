"""The flat keys of the command ``score``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from tunesmith.options import Range


@dataclass(frozen=True)
class ScoreOptions:
    """What is written where."""

    score_file: Annotated[str, "File that scores are written to, one JSON object to a line."] = "scores.jsonl"
    score_batch_size: Annotated[int, "Texts that are rated at once.", Range(least=1)] = 8
