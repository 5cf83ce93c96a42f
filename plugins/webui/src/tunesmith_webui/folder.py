"""The configuration files of one folder, and nothing outside it."""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass
from pathlib import Path

from tunesmith.errors import TunesmithError

SUFFIXES = (".yaml", ".yml", ".json")


@dataclass(frozen=True)
class Folder:
    """A folder whose files a page may read and write. Links that lead out of it are followed to be refused."""

    root: Path

    def names(self) -> list[str]:
        """The configuration files in it, by their path below it."""
        found = (path for suffix in SUFFIXES for path in self.root.glob(f"*{suffix}"))
        return sorted(path.name for path in found if path.is_file() and self._is_inside(path))

    def read(self, name: str) -> str:
        """The text of a file.

        :raises TunesmithError: it is not there, lies outside, or is no text.
        """
        try:
            return self.place(name).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise TunesmithError(f"{name} cannot be read: {error}.") from error

    def write(self, name: str, text: str) -> Path:
        """Put a text into a file, whole or not at all.

        :raises TunesmithError: it would lie outside, be no configuration file, or cannot be written.
        """
        place = self.place(name)
        staged = place.with_name(f".{place.name}.{os.getpid()}-{threading.get_ident()}")  # several browsers may save at once
        try:
            staged.write_text(f"{text.rstrip()}\n", encoding="utf-8")  # a page loses the last line's end
            staged.replace(place)
        except OSError as error:
            raise TunesmithError(f"{name} cannot be written: {error}.", "Make its folder first.") from error
        return place

    def place(self, name: str) -> Path:
        """Where a file lies.

        :raises TunesmithError: that is outside the folder, or the name is not that of a configuration file.
        """
        path = self.root / name
        if not name.strip() or path.suffix not in SUFFIXES:
            raise TunesmithError(f"{name!r} is no name of a configuration file.", f"Write one that ends with {SUFFIXES[0]}.")
        if not self._is_inside(path):
            raise TunesmithError(f"{name} lies outside {self.root}.", "Start tunesmith webui with another --folder.")
        return path

    def _is_inside(self, path: Path) -> bool:
        return path.resolve().is_relative_to(self.root.resolve())
