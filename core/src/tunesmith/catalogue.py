"""What the packages of this project offer, installed or not: read from a file that is generated from their plugins."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from types import MappingProxyType

FILE = "catalogue.json"


@dataclass(frozen=True)
class Catalogue:
    """``axes``: axis → name → distribution; ``keys``: flat key → distribution."""

    axes: Mapping[str, Mapping[str, str]]
    keys: Mapping[str, str]

    def names(self, axis: str) -> Mapping[str, str]:
        """Names of one axis with the distribution that brings each."""
        return self.axes.get(axis, MappingProxyType({}))


def read_catalogue() -> Catalogue:
    """Read the catalogue that ships with the core."""
    plain = json.loads(resources.files("tunesmith").joinpath(FILE).read_text(encoding="utf-8"))
    return Catalogue(plain["axes"], plain["keys"])
