"""Name → spec and the plugin that offers it."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Generic, TypeVar

from tunesmith.collecting import importing
from tunesmith.errors import TunesmithError, nearest

S = TypeVar("S")


@dataclass(frozen=True)
class Owner:
    """An installed plugin: its entry point's name, and the distribution and version it came with."""

    plugin: str
    distribution: str
    version: str

    def __str__(self) -> str:
        return f"{self.plugin} ({self.distribution} {self.version})"


@dataclass(frozen=True)
class Offer(Generic[S]):
    """A spec together with who offers it."""

    spec: S
    owner: Owner

    def load(self) -> Any:
        """Import the object behind the spec.

        :raises TunesmithError: it cannot be imported; the message names plugin, distribution and version.
        """
        spec: Any = self.spec
        module, _, attribute = spec.load.partition(":")
        try:
            with importing():
                found: Any = importlib.import_module(module)
            for part in attribute.split("."):
                found = getattr(found, part)
        except (ImportError, AttributeError) as error:
            raise TunesmithError(
                f"{spec.name!r} of plugin {self.owner} cannot be loaded: {error}.",
                f"Reinstall {self.owner.distribution}, or switch the plugin off: --without {self.owner.plugin}",
            ) from error
        return found


class Registry(Generic[S]):
    """All things of one kind. Two plugins may offer one name; only a run that asks for that name has to choose."""

    def __init__(
        self, word: str, catalogue: Mapping[str, str] | None = None, broken: Mapping[str, object] | None = None
    ) -> None:
        self.word = word
        self._catalogue = catalogue or {}
        self._broken = {} if broken is None else broken
        self._offers: dict[str, dict[str, Offer[S]]] = {}

    def add(self, spec: S, owner: Owner) -> None:
        """Take up a spec.

        :raises TunesmithError: the same plugin offers the name twice.
        """
        name: str = spec.name  # type: ignore[attr-defined]
        offers = self._offers.setdefault(name, {})
        if owner.plugin in offers:
            raise TunesmithError(f"Plugin {owner} offers the {self.word} {name!r} twice.")
        offers[owner.plugin] = Offer(spec, owner)

    def get(self, wanted: str) -> Offer[S]:
        """Find ``name`` or ``name@plugin``.

        :raises TunesmithError: nobody offers it, or several do and none was picked.
        """
        name, _, plugin = wanted.partition("@")
        known = self._offers.get(name, {})
        ways = " or ".join(f"{name}@{owner}" for owner in sorted(known))
        offers = {owner: offer for owner, offer in known.items() if plugin in ("", owner)}
        if not offers:
            hint = f"Write {ways}." if known else self._suggestion(name)
            raise TunesmithError(f"There is no {self.word} {wanted!r}.", hint)
        if len(offers) > 1:
            raise TunesmithError(
                f"{len(offers)} plugins offer the {self.word} {name!r}: {', '.join(sorted(offers))}.",
                f"Write {ways}, or switch one plugin off with --without.",
            )
        return next(iter(offers.values()))

    def _suggestion(self, name: str) -> str:
        broken = "; ".join(map(str, self._broken.values()))
        perhaps = f"It may belong to a plugin that cannot be loaded: {broken}" if broken else ""
        if name in self._catalogue:
            return perhaps or f"It comes with {self._catalogue[name]}: pip install {self._catalogue[name]}"
        if near := nearest(name, [*self._offers, *self._catalogue]):
            return f"{near} {perhaps}".rstrip()
        if perhaps or self._offers:
            return perhaps or f"Installed: {', '.join(sorted(self._offers))}."
        packages = ", ".join(sorted(set(self._catalogue.values())))
        return f"No plugin that offers one is installed. pip install {packages}" if packages else "No plugin offers one."

    def __contains__(self, name: str) -> bool:
        return name in self._offers

    def __iter__(self) -> Iterator[Offer[S]]:
        for _, offers in sorted(self._offers.items()):
            for _, offer in sorted(offers.items()):
                yield offer

    def __len__(self) -> int:
        return sum(map(len, self._offers.values()))

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Every name on offer, sorted."""
        return tuple(sorted(self._offers))

    @property
    def clashes(self) -> dict[str, tuple[str, ...]]:
        """Names that several plugins offer, with those plugins."""
        return {name: tuple(sorted(offers)) for name, offers in self._offers.items() if len(offers) > 1}
