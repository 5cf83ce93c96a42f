"""Bring ``keys.csv`` up to what the packages of this checkout declare: ``python tools/update_keys.py``.

A key that somebody declares becomes *owned* by that package; a new one gets a row. What a row says by hand stays: the default
that users know from elsewhere, and the reason where ours differs. Rows that nobody declares any more are named, not deleted.
"""

from __future__ import annotations

import csv
import io
from dataclasses import astuple, fields, replace
from pathlib import Path
from typing import Any

from tunesmith.keys import HOST, TRANSFORMERS, Key, KeyTable
from tunesmith.kinds import write_kind
from tunesmith.known_keys import Row, rows
from tunesmith.plugins import Plugins

OUT = Path(__file__).resolve().parent.parent / "core" / "src" / "tunesmith" / "keys.csv"
COLUMNS = [item.name for item in fields(Row)]
NEW = "new here"


def owner_of(key: Key) -> str:
    """What the column ``owner`` says of a key that is declared: ``host``, or the distribution."""
    return HOST if key.owner == HOST else key.package


def updated(table: KeyTable) -> dict[str, Row]:
    """All rows as they should be."""
    found = dict(rows())
    for key in table.values():
        if key.status == "owned" and key.owner != TRANSFORMERS:
            found[key.name] = _row(key, found.get(key.name))
    return dict(sorted(found.items()))


def _row(key: Key, row: Row | None) -> Row:
    kind, owner = write_kind(key.type), owner_of(key)
    if row is None:
        return Row(key.name, kind, _text(key.default), "owned", owner, key.group, "", NEW)
    if row.status == "owned":
        return replace(row, type=kind, owner=owner)
    # Which command reads it is still asked where its owner is not installed.
    command = row.only_with if row.only_with.startswith("command=") else ""
    return replace(row, type=kind, status="owned", owner=owner, only_with=command, reason="")


def _text(default: Any) -> str:
    return ",".join(map(str, default)) if isinstance(default, tuple) else str(default)


def text(table: dict[str, Row]) -> str:
    """The file."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(astuple(row) for row in table.values())
    return out.getvalue()


if __name__ == "__main__":
    declared = KeyTable.of(Plugins())
    table = updated(declared)
    OUT.write_text(text(table), encoding="utf-8")
    gone = [
        row.name
        for row in table.values()
        if row.status == "owned" and (row.name not in declared or declared[row.name].status != "owned")
    ]
    print(f"{len(table)} keys" + (f"; nobody declares {', '.join(gone)}" if gone else ""))
