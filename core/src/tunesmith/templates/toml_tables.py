"""Tables of TOML files with the lines they are written on, which ``tomllib`` does not tell."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from tunesmith.errors import ConfigError, Problem

_HEADER = re.compile(r'^\s*\[(?P<name>[\w."-]+)\]\s*(?:#.*)?$')
_PART = re.compile(r'^\s*\[(?:"[^"]*"|[\w-]+)\.')


@dataclass(frozen=True)
class TomlFile:
    """One file: its path, its text and what it says."""

    path: Path
    text: str
    tables: Mapping[str, Any]

    def where(self, table: str, key: str = "") -> str:
        """``file:line`` of a table, or of a key of it (``tools.call`` is looked for in ``[table.tools]`` too)."""
        return f"{self.path}:{self._line(table, key)}"

    def _line(self, table: str, key: str) -> int:
        lines = list(_outside(self.text))
        start = next((at for at, line in enumerate(lines) if header(line) == table), 0)
        if not key:
            return start + 1
        parent, _, leaf = key.rpartition(".")
        if parent:
            inner = next((at for at, line in enumerate(lines) if header(line) == f"{table}.{parent}"), None)
            start, leaf = (start, parent) if inner is None else (inner, leaf)
        for at in range(start + 1, len(lines)):
            if header(lines[at]) is not None:
                break
            if re.match(rf'\s*"?{re.escape(leaf)}"?\s*=', lines[at]):
                return at + 1
        return start + 1


def header(line: str) -> str | None:
    """``[qwen.tools]`` → ``qwen.tools``; ``None`` for every other line."""
    found = _HEADER.match(line) if "[" in line else None
    return found["name"].replace('"', "").strip() if found else None


def is_part(line: str) -> bool:
    """Whether a heading is of a table inside another: ``[qwen.tools]``, but not ``["acme-1.5"]``."""
    return _PART.match(line) is not None


def read_toml(path: Path) -> TomlFile:
    """Read a file.

    :raises ConfigError: it is not there, or is no TOML; names the line.
    """
    try:
        return _read(path, path.stat().st_mtime_ns)
    except UnicodeDecodeError as error:
        raise ConfigError([Problem(str(path), "this is not a text file in UTF-8", "Save it as UTF-8.")]) from error
    except OSError as error:
        raise ConfigError([Problem(str(path), f"cannot be read: {error.strerror}")]) from error


@lru_cache(maxsize=64)
def _read(path: Path, changed: int) -> TomlFile:
    text = path.read_text(encoding="utf-8")
    try:
        return TomlFile(path, text, tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        line = re.search(r"line (\d+)", str(error))
        where = f"{path}:{line[1]}" if line else str(path)
        hint = "Text with line ends needs \\n or three quotes."
        raise ConfigError([Problem(where, f"this is not TOML: {error}", hint)]) from error


def headers(path: Path) -> Iterator[tuple[str, list[str]]]:
    """Each table's name with its lines, heading included, up to the next table, without parsing: cheap enough for every
    start."""
    name, lines = None, []
    for line in _outside(path.read_text(encoding="utf-8")):
        found = header(line)
        if found is None:
            lines.append(line)
            continue
        if name is not None:
            yield name, lines
        name, lines = found, [line]
    if name is not None:
        yield name, lines


def _outside(text: str) -> Iterator[str]:
    """The lines of a file, those inside a text of several lines left empty: they may look like anything."""
    quotes = ""
    for line in text.splitlines():
        yield "" if quotes else line
        while found := (line.find(quotes) if quotes else _opening(line)) + 1:
            quotes, line = ("" if quotes else line[found - 1 : found + 2]), line[found + 2 :]


def _opening(line: str) -> int:
    double, single = line.find('"""'), line.find("'''")
    return max(double, single) if min(double, single) < 0 else min(double, single)


def file_with(folder: Path, table: str) -> Path | None:
    """The TOML file of a folder that has a table of this name."""
    for path in sorted(folder.glob("*.toml")):
        if any(name == table for name, _ in headers(path)):
            return path
    return None
