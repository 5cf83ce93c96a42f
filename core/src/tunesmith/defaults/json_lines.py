"""Rows of a file with a JSON object on each line, by msgspec, which reads a line in a third of the time of Python's json.

Whatever msgspec refuses goes to Python's json, which accepts a little more (``NaN``, halves of surrogate pairs) and says in
known words what is wrong with the rest.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from tunesmith.errors import TunesmithError
from tunesmith.json_faults import json_hint

BOM = b"\xef\xbb\xbf"
MEND = "Mend or remove the line."


def read_objects(file: Path) -> Iterator[tuple[str, object]]:
    """Each line that is not blank: its place, and the value that it holds.

    :raises TunesmithError: a line is no valid JSON, or no UTF-8 text.
    """
    import msgspec

    decode = msgspec.json.Decoder().decode
    with file.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            if line.isspace():
                continue
            place = f"{file}:{number}"
            try:
                value = decode(line)
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
                text = _text(line, place, first=number == 1)
                if not text or text.isspace():
                    continue
                value = _value(text, place)
            yield place, value


def _text(line: bytes, place: str, *, first: bool) -> str:
    try:
        return line.removeprefix(BOM if first else b"").decode()
    except UnicodeDecodeError as error:
        raise no_text(place) from error


def no_text(place: str) -> TunesmithError:
    """The error for a line that is not UTF-8."""
    return TunesmithError(f"{place}: this is no UTF-8 text.", "Save the file as UTF-8.")


def _value(text: str, place: str) -> object:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        at = min(error.pos, len(text.rstrip())) + 1
        raise TunesmithError(
            f"{place}: this line is no valid JSON: {error.msg} (character {at}).", json_hint(error, MEND)
        ) from error
    except RecursionError as error:
        raise TunesmithError(f"{place}: this line is nested too deeply.", MEND) from error
