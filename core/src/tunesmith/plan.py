"""The plan: everything a run will do, decided and checked before anything heavy is imported.

A plan is data. It is printed by ``tunesmith plan``, saved as ``plan.json`` in the output folder, and sent unchanged to every
process of the run. :mod:`tunesmith.planning` makes it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, TypeVar

from tunesmith.config import Setting
from tunesmith.errors import ConfigError, Problem
from tunesmith.registry import Owner
from tunesmith.values import from_plain

T = TypeVar("T")

SCHEMA = 1


@dataclass(frozen=True)
class Chosen:
    """A spec that the run uses: its axis (``"tuners"``), name and owner, and why it and no other."""

    axis: str
    name: str
    owner: Owner
    why: str

    @property
    def wanted(self) -> str:
        """The name that finds exactly this spec in a registry."""
        return f"{self.name}@{self.owner.plugin}"


@dataclass(frozen=True)
class ModelWish:
    """What one role wants.

    ``head``: ``"lm"``, ``"value"`` (rates every place of a text as well) or ``"score"`` (a classifier that rates whole texts).
    With ``base_of`` there is no ``path``: it is the model that this role starts from, with other ``adapters`` or none. Its
    weights are in memory once.

    :param bits: the bits that the user asks for.
    :param quantizer: the wanted name of the quantizer that holds or reads its weights; empty for plain weights.
    :param packed: its weights stay in few bits once they are loaded, so that nothing can be merged into them.
    """

    role: str
    path: str | None
    adapters: tuple[str, ...] = ()
    bits: int | None = None
    head: str = "lm"
    base_of: str | None = None
    quantizer: str = ""
    packed: bool = False


@dataclass(frozen=True)
class ModelPlace:
    """Where a model or adapter lies that the run names by another name than its folder, and at which commit."""

    folder: str
    source: str = ""
    commit: str = ""


@dataclass(frozen=True)
class DatasetPlan:
    """One dataset of the run. ``entry`` is its entry of ``dataset_info.json``, verbatim; ``split``: train or eval.

    ``version``: the commit that its rows are taken from, once that is known; empty for files of this machine.
    """

    name: str
    split: str
    source: str
    format: str
    kind: str
    entry: Mapping[str, Any]
    folder: str
    files: tuple[str, ...] = ()
    size: int = 0
    version: str = ""


@dataclass(frozen=True)
class Estimate:
    """Peak memory in bytes by what takes it. The truth is expected within ``error`` (a fraction) of the total."""

    parameters: int
    trainable: int
    parts: Mapping[str, int]
    error: float
    basis: str

    @property
    def total(self) -> int:
        """All parts together, in bytes."""
        return sum(self.parts.values())


@dataclass(frozen=True)
class Spread:
    """How many processes the run has, on how many devices there are here, and what no process holds all of.

    :param shards: ``"nothing"``, ``"optimizer"`` (its state) or ``"weights"`` (these too).
    """

    processes: int = 1
    devices: int = 1
    shards: str = "nothing"


@dataclass(frozen=True)
class Plan:
    """Everything a run will do.

    ``settings`` holds every key of every owner the run uses, defaults filled in. ``places`` says where models lie that come
    from a hub: those that are here when the plan is made, and all of them once they are fetched. ``missing`` lists what this
    machine or configuration lacks: fatal to whoever carries the plan out, and only listed by ``tunesmith plan``.
    ``stack`` is the one that the run has to be carried out in, where that is not this environment,
    ``server_stack`` the one that holds the engine's server.
    """

    command: str
    settings: Mapping[str, Setting]
    chosen: tuple[Chosen, ...] = ()
    models: Mapping[str, ModelWish] = field(default_factory=dict)
    places: Mapping[str, ModelPlace] = field(default_factory=dict)
    datasets: tuple[DatasetPlan, ...] = ()
    unused: Mapping[str, Setting] = field(default_factory=dict)
    notices: tuple[str, ...] = ()
    missing: tuple[Problem, ...] = ()
    estimate: Estimate | None = None
    spread: Spread = Spread()
    config_folder: str = "."
    without: tuple[str, ...] = ()
    only: tuple[str, ...] | None = None
    local: str | None = None
    stack: str | None = None
    server_stack: str | None = None

    def __getitem__(self, key: str) -> Any:
        """The value of a flat key that an owner of this run declares."""
        return self.settings[key].value

    def with_setting(self, key: str, value: Any, origin: str) -> Plan:
        """The same plan with another value of one key."""
        setting = replace(self.settings[key], value=value, origin=origin, given=True)
        return replace(self, settings={**self.settings, key: setting})

    def options(self, kind: type[T]) -> T:
        """The settings of one owner as its options dataclass."""
        made: T = from_plain(kind, {item.name: self[item.name] for item in fields(kind)})  # type: ignore[arg-type]
        return made

    def owned(self, owner: str, *, given: bool = False) -> dict[str, Any]:
        """All values of one owner; with ``given`` only those that the user or the stage set."""
        return {
            key: setting.value
            for key, setting in self.settings.items()
            if setting.owner == owner and (not given or setting.origin != "default")
        }

    def picked(self, axis: str) -> Iterator[Chosen]:
        """What the run uses of one axis, in the order in which it acts."""
        return (chosen for chosen in self.chosen if chosen.axis == axis)

    def the(self, axis: str) -> Chosen:
        """The one spec the run uses of an axis."""
        return next(self.picked(axis))

    def check_ready(self) -> None:
        """Raise unless everything the run needs is here.

        :raises ConfigError: lists all that is missing.
        """
        if self.missing:
            raise ConfigError(self.missing)

    def to_json(self, *, secrets: bool = False) -> str:
        """The plan as text; tokens and keys are masked unless ``secrets``, which only the run's own processes may see."""
        plain = asdict(self)
        for settings in () if secrets else (plain["settings"], plain["unused"]):
            for key, setting in settings.items():
                if is_secret(key) and setting["value"]:
                    setting["value"] = "***"
        return json.dumps({"schema": SCHEMA, **plain}, indent=1, ensure_ascii=False, default=str)

    @classmethod
    def from_json(cls, text: str) -> Plan:
        """Read what :meth:`to_json` wrote.

        :raises ValueError: another schema, or no plan at all.
        """
        plain = json.loads(text)
        if plain.pop("schema", None) != SCHEMA:
            raise ValueError(f"this is no plan of schema {SCHEMA}")
        plan: Plan = from_plain(cls, plain)
        return plan

    def write(self, path: Path) -> None:
        """Save as JSON."""
        path.write_text(self.to_json(), encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> Plan:
        """Load from JSON."""
        return cls.from_json(path.read_text(encoding="utf-8"))


def is_secret(key: str) -> bool:
    """Whether a key's value must never be written anywhere."""
    return key.endswith(("token", "api_key", "secret", "password", "webhook_url"))
