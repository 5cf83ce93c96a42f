"""The keys that are data: transformers' training arguments, and ``keys.csv`` with every key that users may know.

``keys.csv`` has one row for each key of the program whose configuration dialect this is. ``status`` is *owned* (somebody here
declares it), *translated* (another key does it), *later* (a package still to come will own it) or *refused* (with the reason).
``only_with`` names what gives the key an effect: a key that is on (``use_kt``), a key's value (``stage=dpo kto``), a
command (``command=api``), or a word for what no key says (``media``).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from typing import Any, Literal

from tunesmith.kinds import read_kind
from tunesmith.options import Range
from tunesmith.shipped_tables import read_table
from tunesmith.values import Word, convert

Status = Literal["owned", "translated", "later", "refused"]
HOST, TRANSFORMERS = "host", "transformers"


@dataclass(frozen=True)
class Key:
    """One flat key.

    :param type: its annotation, without help and range.
    :param owner: ``"host"``, ``"transformers"``, the plugin that declares it, or the distribution that will bring it.
    :param group: the host's group, the spec that declares it, or in words what it is about.
    :param reason: why it is refused, or what it is translated into.
    :param package: the distribution of the plugin that declares it.
    :param shared_with: further plugins that declare the very same thing.
    """

    name: str
    type: Any
    default: Any
    help: str = ""
    owner: str = HOST
    group: str = ""
    status: Status = "owned"
    reason: str = ""
    bounds: Range | None = None
    only_with: str = ""
    package: str = "tunesmith-core"
    shared_with: tuple[str, ...] = field(default=())

    def matters(self, value: Callable[[str], Any], command: str) -> bool:
        """Whether the key has an effect under ``command``; ``value`` gives the value of another flat key."""
        if not self.only_with:
            return True
        name, _, values = self.only_with.partition("=")
        if name == "command":
            return command in values.split()
        return str(value(name)) in values.split() if values else bool(value(name))


@dataclass(frozen=True)
class Row:
    """One row of ``keys.csv``, as text."""

    name: str
    type: str
    default: str
    status: Status
    owner: str
    area: str
    only_with: str
    reason: str


@cache
def rows() -> Mapping[str, Row]:
    """Every row of ``keys.csv`` by name."""
    return {row["name"]: Row(**row) for row in read_table("keys.csv")}  # type: ignore[arg-type]


@cache
def not_owned() -> Mapping[str, Key]:
    """The keys of ``keys.csv`` that nobody here declares: translated, later and refused ones."""
    return {row.name: _key(row) for row in rows().values() if row.status != "owned"}


def _key(row: Row) -> Key:
    kind = read_kind(row.type)
    help_, reason = (row.reason, "") if row.status == "later" else ("", row.reason)
    default = convert(kind, Word(row.default))
    return Key(row.name, kind, default, help_, row.owner, row.area, row.status, reason, None, row.only_with, row.owner)


@dataclass(frozen=True)
class LibraryOptimizer:
    """One value of ``optim``: the package that transformers imports for it and what to ``pip install``, or why it is refused.

    ``schedule``: what ``lr_scheduler_type`` has to begin with.
    """

    name: str
    needs: str = ""
    install: str = ""
    schedule: str = ""
    refused: str = ""
    instead: str = ""


@cache
def _from_transformers() -> Mapping[str, Any]:
    """A file that is generated from the library."""
    plain: dict[str, Any] = json.loads(resources.files("tunesmith").joinpath("training_arguments.json").read_text("utf-8"))
    return plain


@cache
def training_arguments() -> Mapping[str, Key]:
    """The training arguments of transformers."""
    return {argument["name"]: _training_argument(argument) for argument in _from_transformers()["arguments"]}


@cache
def library_optimizers() -> Mapping[str, LibraryOptimizer]:
    """What transformers' ``optim`` can name."""
    return {one["name"]: LibraryOptimizer(**one) for one in _from_transformers()["optimizers"]}


#: Kinds of training arguments that mean more here than in the library: a plan settles what else they may be.
WIDER = {"per_device_train_batch_size": "int | Literal['auto']"}


def _training_argument(plain: Mapping[str, Any]) -> Key:
    kind = read_kind(WIDER.get(plain["name"], plain["type"]))
    default = tuple(plain["default"]) if isinstance(plain["default"], list) else plain["default"]
    bounds = Range(**plain["range"]) if "range" in plain else None
    return Key(
        plain["name"], kind, default, plain["help"], TRANSFORMERS, "training arguments", bounds=bounds, package=TRANSFORMERS
    )
