"""Published models: what they are called on which hub, and the template that each was trained with.

Two things are known about a model's template: catalogues list published models one by one, and each template names patterns
of the models it is made for (``models = […]``), which also fit models that nobody listed. The catalogues are asked first. The
answer is for suggestions and warnings; a run's template is what the user writes, or the tokenizer's own.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path

from tunesmith.errors import TunesmithError, nearest
from tunesmith.plugins import Plugins
from tunesmith.specs import ModelCatalogueSpec

FIXED = ("model", "template")
_WILDCARD = re.compile(r"[*?[]")


@dataclass(frozen=True)
class KnownModel:
    """A row of a catalogue. ``on_hubs``: its name on each hub that has it; ``template`` is empty for base models."""

    name: str
    template: str
    on_hubs: Mapping[str, str] = field(default_factory=dict)


@cache
def read_catalogue(spec: ModelCatalogueSpec) -> tuple[KnownModel, ...]:
    """The rows of a catalogue's file.

    :raises TunesmithError: a column is missing, or a row has another number of cells.
    """
    with Path(spec.file).open(encoding="utf-8", newline="") as text:
        reader = csv.DictReader(text, strict=True)
        if tuple(reader.fieldnames or ())[:2] != FIXED:
            raise TunesmithError(f"{spec.file} begins with other columns than {', '.join(FIXED)}.")
        return tuple(_known(row, f"{spec.file}:{reader.line_num}") for row in reader)


def _known(row: Mapping[str | None, str | None], place: str) -> KnownModel:
    if None in row or None in row.values():
        raise TunesmithError(f"{place}: this row has another number of cells than the header.")
    on_hubs = {str(column): name for column, name in row.items() if column not in FIXED and name}
    return KnownModel(str(row["model"]), str(row["template"]), on_hubs)


def known_models(plugins: Plugins) -> Iterator[KnownModel]:
    """The rows of all catalogues that are installed."""
    for offer in plugins.models:
        yield from offer.load()(offer.spec)


def find_known(name: str, plugins: Plugins) -> tuple[KnownModel, ...]:
    """The published models that ``name`` may stand for: a hub's name, the name people know, or a folder called like either.

    Upper and lower case are the same, as on the hubs. Exact hub names come first: where one fits, the others are left out.
    """
    rows = list(known_models(plugins))
    whole, last = name.lower(), _last(name)
    if exact := [row for row in rows if whole in (hub.lower() for hub in row.on_hubs.values())]:
        return tuple(exact)
    return tuple(row for row in rows if last in (row.name.lower(), *map(_last, row.on_hubs.values())))


def _last(name: str) -> str:
    return name.rstrip("/").rpartition("/")[2].lower()


def templates_for(name: str, plugins: Plugins) -> tuple[str, ...]:
    """The templates that the model called ``name`` may have been trained with; empty when nothing is known."""
    known = find_known(name, plugins)
    if known:
        return tuple(dict.fromkeys(row.template for row in known if row.template))
    names = (name, Path(name).name)
    return tuple(offer.spec.name for offer in plugins.templates if any(_fits(one, offer.spec.models) for one in names))


def _fits(name: str, patterns: tuple[str, ...]) -> bool:
    return any(_matches(name, pattern) or _matches(name, pattern.rpartition("/")[2]) for pattern in patterns)


def _matches(name: str, pattern: str) -> bool:
    """Most patterns differ from the name before their first wildcard, and need not be compiled."""
    return name.startswith(_WILDCARD.split(pattern, 1)[0]) and fnmatchcase(name, pattern)


def suggestion(name: str, plugins: Plugins) -> str:
    """``Did you mean …?`` for a hub name that is much like a published one's, else nothing."""
    names = {hub for row in known_models(plugins) for hub in row.on_hubs.values()}
    return "" if name in names else nearest(name, names)
