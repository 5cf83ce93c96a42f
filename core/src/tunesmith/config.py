"""What the user asked for: typed values, each with its origin and owner."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunesmith.errors import Problem

if TYPE_CHECKING:
    from tunesmith.keys import KeyTable


@dataclass(frozen=True)
class Setting:
    """The value of one flat key.

    :param origin: where it comes from: ``"run.yaml:7"``, ``"command line"``, ``"TUNESMITH_BACKEND"``, ``"default"``,
        ``"default of stage sft"``.
    :param owner: ``"host"``, ``"transformers"`` (its training arguments) or the name of a plugin.
    :param given: the user wrote it, as against a default.
    """

    value: Any
    origin: str
    owner: str
    given: bool = False


@dataclass(frozen=True)
class RunConfig:
    """A configuration that was read and type-checked, and not yet planned.

    ``settings`` holds only what was given, less what is wrong, which ``problems`` lists; ``notices`` say what was translated.
    """

    settings: Mapping[str, Setting]
    keys: KeyTable
    file: Path | None = None
    notices: tuple[str, ...] = field(default=())
    problems: tuple[Problem, ...] = field(default=())

    def value(self, key: str) -> Any:
        """The given value, or the owner's default."""
        return self.settings[key].value if key in self.settings else self.keys[key].default

    def origin(self, key: str) -> str:
        """Where the value comes from, for error messages."""
        return self.settings[key].origin if key in self.settings else "default"
