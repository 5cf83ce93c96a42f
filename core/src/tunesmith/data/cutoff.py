"""What happens to a row that is longer than ``cutoff_len``.

``overflow: truncate`` gives things up in this order, and the data report counts each:

1. Where only the last answer is learned (``mask_history``, preferences, feedback, prompts): the oldest exchanges.
2. Otherwise: whole exchanges from the end, so that what stays is complete, its last stop token included.
3. The end of the one answer that is left. It then has no stop token, so a cut answer does not teach the model to stop short.
4. A row whose prompt alone does not fit is dropped.

Documents lose nothing: they are split into several rows. ``drop`` drops every row that is too long, ``error`` ends the run.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from tunesmith.data.tokens import Encoded

Overflow: TypeAlias = Literal["truncate", "drop", "error"]
TOO_LONG = "longer than cutoff_len"
PROMPT_TOO_LONG = "prompt alone longer than cutoff_len"


@dataclass(frozen=True, slots=True)
class Shortened:
    """``encoded`` is ``None`` when nothing could be kept. ``answer_cut``: a learned answer lost its end."""

    encoded: Encoded | None
    answer_cut: bool = False


def shorten(encoded: Encoded, limit: int) -> Shortened:
    """Keep whole exchanges while they fit, else the first answer as far as it fits."""
    if len(encoded) <= limit:
        return Shortened(encoded)
    starts = [0, *encoded.ends]
    learned = [i for i, weight in enumerate(encoded.weights) if weight > 0 and encoded.ends[i] > starts[i]]
    whole = [encoded.ends[i] for i in learned if encoded.ends[i] <= limit]
    if whole:
        return Shortened(_head(encoded, max(whole)))
    if not learned or starts[learned[0]] >= limit:
        return Shortened(None)
    return Shortened(_head(encoded, limit), answer_cut=True)


def split(encoded: Encoded, limit: int) -> list[Encoded]:
    """Consecutive parts of at most ``limit`` tokens that together are the whole."""
    return [_part(encoded, start, min(start + limit, len(encoded))) for start in range(0, len(encoded), limit)]


def _head(encoded: Encoded, end: int) -> Encoded:
    return _part(encoded, 0, end)


def _part(encoded: Encoded, start: int, end: int) -> Encoded:
    runs = [(min(e, end) - start, weight) for e, weight in zip(encoded.ends, encoded.weights, strict=True) if e > start]
    kept = [(e, weight) for i, (e, weight) in enumerate(runs) if i == 0 or runs[i - 1][0] < end - start]
    return Encoded(encoded.ids[start:end], [e for e, _ in kept], [weight for _, weight in kept])
