"""Environment variables as keys: ``TUNESMITH_<KEY>`` for every key, and the names that users set already."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache

from tunesmith.shipped_tables import read_table
from tunesmith.values import Word
from tunesmith.yaml_lines import Entry

PREFIX = "TUNESMITH_"
#: Variables of the program itself, which are no keys.
RESERVED = frozenset({"TUNESMITH_WITHOUT", "TUNESMITH_ONLY", "TUNESMITH_CACHE", "TUNESMITH_STACKS"})


@dataclass(frozen=True)
class Variable:
    """A variable that users know. ``key`` is what it sets; empty where somebody else reads it, which ``note`` explains."""

    name: str
    key: str
    note: str


@cache
def variables() -> tuple[Variable, ...]:
    """Every variable of ``environment.csv``."""
    return tuple(Variable(row["variable"], row["key"], row["note"]) for row in read_table("environment.csv"))


def known_variable(name: str) -> Variable | None:
    """The entry of ``environment.csv`` that is about ``name``, where there is one."""
    return next((variable for variable in variables() if fnmatchcase(name, variable.name)), None)


def read_environment(environ: Mapping[str, str]) -> list[Entry]:
    """The keys that ``environ`` sets; a variable that is set to nothing sets none."""
    known = [Entry(v.key, Word(environ[v.name]), v.name) for v in variables() if v.key and environ.get(v.name)]
    return [*known, *_own(environ)]


def _own(environ: Mapping[str, str]) -> Iterator[Entry]:
    for name in sorted(environ):
        if name.startswith(PREFIX) and name not in RESERVED and environ[name]:
            yield Entry(name.removeprefix(PREFIX).lower(), Word(environ[name]), name)
