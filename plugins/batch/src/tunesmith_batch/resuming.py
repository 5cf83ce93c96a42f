"""Where an earlier run stopped: whole lines count, half a line at the end is taken away."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from pathlib import Path

from tunesmith.errors import TunesmithError

from tunesmith_batch.questions import Line


def head_of(line: Line) -> str:
    """How the answer to ``line`` begins in the file, without the brace that opens it."""
    return f'"line": {line.number}, "of": "{line.mark}"'


def left_over(lines: Iterator[Line], source: Path, answers: Path) -> Iterator[Line]:
    """Of ``lines``, those that ``answers`` has no whole line for yet. Half a line at its end is taken away.

    :raises TunesmithError: an answer that is there belongs to another line or to other settings; the file is left as it is.
    """
    if not answers.exists():
        return lines
    whole = 0
    with answers.open("rb") as held:
        for number, raw in enumerate(held, start=1):
            line = next(lines, None)
            head = b"" if line is None else f"{{{head_of(line)}".encode()
            if line is None or not (raw.startswith(head) or (head.startswith(raw) and not raw.endswith(b"\n"))):
                what = f"Line {number} of {answers} is no answer to {source} with these settings."
                raise TunesmithError(what, "Give another file for the answers, or remove this one to start anew.")
            if not raw.endswith(b"\n"):
                with answers.open("rb+") as cut:
                    cut.truncate(whole)
                return chain([line], lines)
            whole += len(raw)
    return lines
