"""Where stacks lie, which of them are made, and which one this process runs in."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tunesmith.errors import TunesmithError

#: Written last into a stack's folder: without it the stack is unfinished.
MARK = "tunesmith-stack.json"
VARIABLE = "TUNESMITH_STACKS"


@dataclass(frozen=True)
class Stack:
    """A stack that was made: by distribution, the locked versions, and in ``ours`` the digests of our own packages."""

    name: str
    kind: str
    python: str
    demands: tuple[str, ...]
    packages: Mapping[str, str] = field(default_factory=dict)
    ours: Mapping[str, str] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        """Its virtual environment."""
        return folder_of(self.name)

    @property
    def interpreter(self) -> Path:
        """Its Python."""
        return self.folder / "bin" / "python"

    def write(self) -> None:
        """Mark the folder as complete."""
        (self.folder / MARK).write_text(json.dumps(asdict(self), indent=1), encoding="utf-8")


def home() -> Path:
    """The folder of all stacks: ``TUNESMITH_STACKS``, else one among the user's data."""
    given = os.environ.get(VARIABLE)
    data = Path(os.environ.get("XDG_DATA_HOME") or "~/.local/share").expanduser()
    return Path(given).expanduser() if given else data / "tunesmith" / "stacks"


def folder_of(name: str) -> Path:
    """Where the stack ``name`` lies, made or not.

    :raises TunesmithError: the name would lead out of the folder of stacks.
    """
    if not name or name != Path(name).name or name.startswith("."):
        raise TunesmithError(f"{name!r} cannot be the name of a stack.", "Use letters, digits and hyphens.")
    return home() / name


def lock_file(name: str) -> Path:
    """Where the lock of the stack ``name`` is kept: beside its folder, so that it outlives it."""
    return folder_of(name).with_name(f"{name}.lock.txt")


def made(name: str) -> Stack | None:
    """The stack, where it is complete."""
    return _read(folder_of(name))


def current() -> str | None:
    """The name of the stack that this process runs in."""
    stack = _read(Path(sys.prefix))
    return stack.name if stack is not None else None


def interpreter(name: str) -> Path:
    """The Python of a stack, for who starts a server in it.

    :raises TunesmithError: the stack has not been made.
    """
    stack = made(name)
    if stack is None:
        raise TunesmithError(f"The stack {name} has not been made.", f"tunesmith stack create {name}")
    return stack.interpreter


def _read(folder: Path) -> Stack | None:
    try:
        plain = json.loads((folder / MARK).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except ValueError as error:
        hint = f"tunesmith stack remove {folder.name}, then create it again."
        raise TunesmithError(f"The stack in {folder} is damaged: {error}", hint) from error
    return Stack(**{**plain, "demands": tuple(plain["demands"])})
