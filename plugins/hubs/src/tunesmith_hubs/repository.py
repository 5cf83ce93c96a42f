"""A repository at one version: what it holds, which of it is on this machine, and how the rest is fetched.

What a hub said that a repository holds is remembered by its version, so that a run offline knows what belongs to it and what
is not here yet. A version never changes what it means: a commit where the hub has commits, else a hash over all files.
"""

from __future__ import annotations

import hashlib
import json
import re
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Protocol

from tunesmith.data.cache import locked
from tunesmith.errors import TunesmithError
from tunesmith.model_folder import is_offline

COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class Listing:
    """What a repository holds: ``version``, and each file's path with what identifies its content (empty: the version does)."""

    version: str
    files: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of_contents(cls, files: Mapping[str, str]) -> Listing:
        """A listing whose version is a hash over the files, for places that have no commits."""
        text = json.dumps(sorted(files.items())).encode()
        return cls(hashlib.sha256(text).hexdigest()[:40], files)


@dataclass(frozen=True)
class Name:
    """Which repository: its name on the hub, what it holds, the revision that was asked for, and the flat key of the token."""

    name: str
    kind: Literal["dataset", "model"]
    revision: str
    token_key: str = ""

    def __str__(self) -> str:
        return f"{self.name} at {self.revision}" if self.revision else self.name


class Hub(Protocol):
    """What differs from hub to hub. Errors of its library come as ``TunesmithError`` in plain words.

    ``title`` is what it is called, ``branch`` what is taken where nobody says a revision, and ``commits`` whether its versions
    are commits, which can be asked for.
    """

    title: str
    branch: str = "main"
    commits: bool = True

    @abstractmethod
    def listing(self, name: Name) -> Listing:
        """What the repository holds now, at the revision of ``name``."""

    @abstractmethod
    def place(self, name: Name, version: str, path: str) -> Path:
        """Where a file lies once it is here; a file that lies there is whole."""

    @abstractmethod
    def fetch(self, name: Name, listing: Listing, path: str) -> None:
        """Bring a file to its place; goes on where an earlier download stopped, where the library can."""


class Repository:
    """One repository on one hub.

    :param memory: the folder of what is remembered about repositories.
    :param version: the version to use, where that is known already.
    """

    def __init__(self, hub: Hub, name: Name, memory: Path, version: str = "") -> None:
        self._hub, self.name, self._version = hub, name, version
        slug = re.sub(r"[^\w.-]+", "--", name.name)
        self._memory = memory / "listings" / hub.title.replace(" ", "-").lower() / f"{name.kind}s--{slug}"

    @cached_property
    def listing(self) -> Listing:
        """What it holds; asks the hub unless the version is known, cannot change, or the hub is switched off.

        :raises TunesmithError: there is no such repository or revision, or it cannot be asked.
        """
        known = self.remembered()
        if known and (self._version or COMMIT.fullmatch(self.name.revision) or is_offline()):
            return known
        if is_offline():
            hint = "Run once with the hub, or unset HF_HUB_OFFLINE."
            raise TunesmithError(f"{self.name} of {self._hub.title} is not in the cache, and hubs are switched off.", hint)
        pinned = self._version and self._hub.commits
        found = self._hub.listing(replace(self.name, revision=self._version) if pinned else self.name)
        if self._version and found.version != self._version:
            what = f"{self.name} of {self._hub.title} is not what the plan names any more (version {self._version})"
            raise TunesmithError(f"{what}: it has changed since.", "Plan again.")
        self._remember(found)
        return found

    @property
    def version(self) -> str:
        """The commit, or the hash over all files."""
        return self.listing.version

    def file(self, path: str) -> Path:
        """A file of it, fetched where it is not here.

        :raises TunesmithError: it cannot be had.
        """
        place = self._hub.place(self.name, self.version, path)
        if place.is_file():
            return place
        if is_offline():
            what = f"{path} of {self.name} ({self._hub.title}, version {self.version}) is not in the cache"
            raise TunesmithError(f"{what}, and hubs are switched off.", "Run once with the hub, or unset HF_HUB_OFFLINE.")
        self._hub.fetch(self.name, self.listing, path)
        if not place.is_file():
            raise TunesmithError(f"{path} of {self.name} did not come whole from {self._hub.title}.", "Try again.")
        return place

    def lacks(self) -> list[str]:
        """What is known to belong to it and is not here; asks nobody, so only for a repository that is remembered."""
        return [path for path in self.listing.files if not self._hub.place(self.name, self.version, path).is_file()]

    # ---- what is remembered ------------------------------------------------------------------------------------------

    def remembered(self) -> Listing | None:
        """What the hub once said of this version or revision."""
        wanted = self._version or self._pointer(self.name.revision) or self.name.revision
        file = self._memory / f"{_safe(wanted)}.json"
        if not file.is_file():
            return None
        plain: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        return Listing(plain["version"], plain["files"])

    def _pointer(self, revision: str) -> str:
        file = self._memory / "revisions" / _safe(revision)
        return file.read_text(encoding="utf-8") if file.is_file() else ""

    def _remember(self, listing: Listing) -> None:
        text = json.dumps({"version": listing.version, "files": dict(listing.files)})
        with locked(self._memory):
            _write(self._memory / f"{_safe(listing.version)}.json", text)
            _write(self._memory / "revisions" / _safe(self.name.revision), listing.version)


def _safe(revision: str) -> str:
    return re.sub(r"[^\w.-]+", "--", revision).lstrip(".") or "default"


def _write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    staging = file.with_name(f".{file.name}.new")
    staging.write_text(text, encoding="utf-8")
    staging.replace(file)


def within(folder: Path, path: str) -> Path:
    """``path`` inside ``folder``.

    :raises TunesmithError: it would lie outside: a hub's listing is not to be trusted with that.
    """
    place = folder / path
    if (not place.resolve().is_relative_to(folder.resolve()) and ".." in Path(path).parts) or Path(path).is_absolute():
        raise TunesmithError(f"The repository names a file outside itself: {path}.", "Do not use it.")
    return place
