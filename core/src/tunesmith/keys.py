"""Every flat key with its owner: the host's, transformers', those of all installed plugins, and those that are only known."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import MISSING, Field, dataclass, fields, replace
from functools import cache
from typing import Any, Literal, get_args, get_origin, get_type_hints

from tunesmith.errors import TunesmithError, nearest
from tunesmith.host_options import HOST_GROUPS
from tunesmith.kinds import bare, choices
from tunesmith.known_keys import HOST, TRANSFORMERS, Key, Status, not_owned, rows, training_arguments
from tunesmith.plugins import Broken, Plugins
from tunesmith.registry import Owner
from tunesmith.shipped_tables import read_table
from tunesmith.spec import options_of
from tunesmith.specs import Switch

__all__ = ["HOST", "TRANSFORMERS", "Key", "KeyTable", "Status"]


@dataclass(frozen=True)
class Declared:
    """A key and the class whose body declares it: two plugins may share the class, not merely the name."""

    key: Key
    by: type


class KeyTable(Mapping[str, Key]):
    """Name → key. Where two plugins declare one name differently, it is a clash, which only matters to who gives that key."""

    def __init__(self, keys: Mapping[str, Key], clashes: Mapping[str, tuple[Key, ...]], plugins: Plugins) -> None:
        self._keys = keys
        self._plugins = plugins
        self.clashes = clashes

    @classmethod
    def of(cls, plugins: Plugins) -> KeyTable:
        """The table of everything that is installed. Imports nothing heavy."""
        declared: dict[str, list[Declared]] = {name: [one] for name, one in _host_keys().items()}
        for one in _plugin_keys(plugins):
            declared.setdefault(one.key.name, []).append(one)
        keys = {**training_arguments(), **not_owned()}
        clashes: dict[str, tuple[Key, ...]] = {}
        for name, ones in declared.items():
            if name in training_arguments() and name not in not_owned():
                ones = [Declared(keys[name], object), *ones]
            keys[name] = _merged(ones)
            if len({one.by for one in ones}) > 1:
                clashes[name] = tuple(one.key for one in ones)
        _let_switches_in(keys, plugins)
        return cls(keys, clashes, plugins)

    def __getitem__(self, name: str) -> Key:
        return self._keys[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._keys)

    def __len__(self) -> int:
        return len(self._keys)

    def clash(self, name: str) -> TunesmithError | None:
        """What is wrong when several owners declare ``name``, or ``None``."""
        if name not in self.clashes:
            return None
        owners = sorted({key.owner for key in self.clashes[name]})
        off = " or ".join(f"--without {owner}" for owner in owners if owner not in (HOST, TRANSFORMERS))
        what = " and ".join(owners) if len(owners) > 1 else f"{owners[0]}, twice and differently"
        return TunesmithError(f"{name} is declared by {what}", f"Switch one off: tunesmith {off} …")

    def advice(self, name: str) -> str:
        """What a user who wrote the unknown key ``name`` can do."""
        if package := self._plugins.catalogue.keys.get(name) or (rows()[name].owner if name in rows() else ""):
            return self._advice_about(package)
        if (here := _names_elsewhere().get(name)) in self:
            return f"Did you mean {here!r}?"
        near = nearest(name, self) or nearest(name, self._plugins.catalogue.keys)
        broken = ", ".join(sorted(self._plugins.broken))
        perhaps = f"It may belong to a plugin that cannot be loaded: {broken}." if broken else ""
        return f"{near} {perhaps}".strip() or "tunesmith explain lists every key."

    def _advice_about(self, package: str) -> str:
        for owner in self._plugins.off:
            if owner.distribution == package:
                return f"It belongs to the plugin {owner.plugin}, which is switched off."
        for broken in self._plugins.broken.values():
            if broken.owner.distribution == package:
                return f"It belongs to a plugin that cannot be loaded: {broken}"
        return f"It comes with {package}: pip install {package}"


@cache
def _names_elsewhere() -> Mapping[str, str]:
    """What other programs call a key, and what it is called here."""
    return {row["elsewhere"]: row["here"] for row in read_table("names_elsewhere.csv")}


@cache
def _host_keys() -> Mapping[str, Declared]:
    return {
        item.name: Declared(_key(item, annotation, HOST, group, "tunesmith-core"), kind)
        for group, kind in HOST_GROUPS
        for item, annotation in _annotated(kind)
    }


def _plugin_keys(plugins: Plugins) -> Iterator[Declared]:
    """The keys of every options dataclass; each class once for each plugin that names it."""
    seen: set[tuple[type, str]] = set()
    for axis, offer in plugins.offers():
        owner = offer.owner
        try:
            kind = options_of(offer.spec)
            declared = _annotated(kind) if kind else []
        except Exception as error:  # whatever importing raises: kept and shown, like every fault of one plugin
            plugins.broken[owner.plugin] = Broken(owner, error)
            continue
        if kind is None or (kind, owner.plugin) in seen:
            continue
        seen.add((kind, owner.plugin))
        yield from _declared(declared, kind, owner, f"{axis.word} {offer.spec.name}")


def _declared(declared: list[tuple[Field[Any], Any]], kind: type, owner: Owner, group: str) -> Iterator[Declared]:
    for item, annotation in declared:
        by = next(ancestor for ancestor in kind.__mro__ if item.name in vars(ancestor).get("__annotations__", {}))
        yield Declared(_key(item, annotation, owner.plugin, group, owner.distribution), by)


@cache
def _annotated(kind: type) -> list[tuple[Field[Any], Any]]:
    hints = get_type_hints(kind, include_extras=True)
    return [(item, hints[item.name]) for item in fields(kind)]


def _key(item: Field[Any], annotation: Any, owner: str, group: str, package: str) -> Key:
    kind, help_, bounds = bare(annotation)
    default = item.default_factory() if item.default_factory is not MISSING else item.default
    default = None if default is MISSING else default
    return Key(item.name, kind, default, help_, owner, group, bounds=bounds, package=package)


def _merged(ones: list[Declared]) -> Key:
    """The first owner's key, with the others who share it."""
    first = ones[0]
    others = {one.key.owner for one in ones if one.by is first.by} - {first.key.owner}
    return replace(first.key, shared_with=tuple(sorted(others))) if others else first.key


def _let_switches_in(keys: dict[str, Key], plugins: Plugins) -> None:
    """Add to a key with a closed choice the values with which installed plugins are turned on."""
    for _, offer in plugins.offers():
        switch: Switch | None = getattr(offer.spec, "switch", None)
        key = keys.get(switch.key) if switch else None
        if switch and key and choices(key.type) and isinstance(switch.value, str) and switch.value not in choices(key.type):
            keys[key.name] = replace(key, type=_with_choice(key.type, switch.value))


def _with_choice(kind: Any, value: str) -> Any:
    if get_origin(kind) is Literal:
        return Literal[(*get_args(kind), value)]
    return kind | Literal[value]
