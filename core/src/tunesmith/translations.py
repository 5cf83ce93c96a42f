"""Old names → today's keys, by the table ``translations.csv``: said aloud, never silently.

Each row holds an old ``name`` and what was ``given``: a value, ``true`` or ``false`` in any spelling, ``<1`` for a share, or
``*`` for anything else. ``new`` is today's key (``a.b`` inside a mapping), ``!`` refuses, and nothing drops it. ``value`` is
what the new key gets; ``=`` keeps what was given.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from tunesmith.errors import Problem
from tunesmith.shipped_tables import read_table
from tunesmith.values import BadValueError, Word, convert
from tunesmith.yaml_lines import Entry

KEEP, REFUSE, ANY, SHARE = "=", "!", "*", "<1"


@dataclass(frozen=True)
class Translation:
    """One row of ``translations.csv``."""

    old: str
    given: str
    new: str
    value: str
    note: str

    def fits(self, raw: Any) -> bool:
        """Whether the row is about what was given."""
        if self.given == ANY:
            return True
        if self.given in ("true", "false"):
            return _as(bool, raw) is (self.given == "true")
        if self.given == SHARE:
            share = _as(float, raw)
            return share is not None and 0 <= share < 1
        return str(raw) == self.given


def _as(kind: type, raw: Any) -> Any:
    try:
        return convert(kind, raw)
    except BadValueError:
        return None


@cache
def translations() -> Mapping[str, tuple[Translation, ...]]:
    """The rows of each old name, in the order in which they are tried."""
    table: dict[str, list[Translation]] = {}
    for row in read_table("translations.csv"):
        table.setdefault(row["old"], []).append(Translation(**row))
    return {old: tuple(rows) for old, rows in table.items()}


def translate(entry: Entry) -> tuple[Entry | None, str, Problem | None]:
    """Today's entry (``None``: nothing is left of it), what to tell the user, and what is wrong."""
    row = next((row for row in translations().get(entry.key, ()) if row.fits(entry.value)), None)
    if row is None:
        return entry, "", None
    if row.new == REFUSE:
        return None, "", Problem(entry.where, f"{entry.key}: {shown(entry.value)} is not supported", row.note)
    if not row.new:
        return None, _notice(entry, row, "is left out"), None
    value = entry.value if row.value == KEEP else Word(row.value)
    new = f"{row.new}: {shown(value)}" if row.value != KEEP else row.new
    return Entry(row.new, value, entry.where), _notice(entry, row, f"is read as {new}"), None


def _notice(entry: Entry, row: Translation, what: str) -> str:
    given = entry.key if row.value == KEEP else f"{entry.key}: {shown(entry.value)}"
    return f"{entry.where}: {given} {what}" + (f" ({row.note})" if row.note else "")


def shown(raw: Any) -> str:
    """A value as a user would write it."""
    if raw is None or raw is True or raw is False:
        return {None: "null", True: "true", False: "false"}[raw]
    if isinstance(raw, Mapping):
        return "{…}"
    if isinstance(raw, (list, tuple)):
        return f"[{', '.join(map(shown, raw))}]"
    return str(raw) if isinstance(raw, (Word, int, float)) and raw != "" else repr(str(raw))
