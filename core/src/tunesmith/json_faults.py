"""What is wrong with a text that was to be JSON, in words that say what to write instead."""

from __future__ import annotations

import re
from json import JSONDecodeError

_COMMENT = ("//", "/*", "#")
_PYTHON = re.compile(r"(True|False|None)\b")
_CLOSED_TOO_SOON = re.compile(r",\s*[\]}]")


def json_hint(error: JSONDecodeError, otherwise: str = "Mend the file.") -> str:
    """What mends the place that ``error`` names; ``otherwise`` where that cannot be told."""
    if not error.doc.strip():
        return "It is empty."
    before, rest = error.doc[: error.pos].rstrip(), error.doc[error.pos :].lstrip()
    if rest.startswith(_COMMENT):
        return "JSON has no comments: remove this one."
    if rest.startswith("'"):
        return 'JSON takes double quotes: "…".'
    if _PYTHON.match(rest):
        return "JSON writes true, false and null."
    if _CLOSED_TOO_SOON.match(before[-1:] + rest) or _CLOSED_TOO_SOON.match(rest):
        return "Remove the comma before the closing bracket."
    if error.msg.startswith("Unterminated string"):
        return 'Close the quotes; within a text write \\n for a new line, \\" for a quote.'
    if error.msg.startswith(("Invalid \\", "Invalid control")):
        return "Within a text write \\\\ for a backslash, \\n for a new line, \\t for a tab."
    return otherwise
