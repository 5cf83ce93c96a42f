"""The packages and files of this checkout, for tests and generators."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
GROUPS = ("plugins", "backends", "templates")
#: Folders that hold what was made, not what was written.
MADE = frozenset({".git", ".venv", "build", "dist", "site", "demo", "saves", "__pycache__", "node_modules"})


@dataclass(frozen=True)
class Package:
    """One distribution of the checkout."""

    folder: Path

    @cached_property
    def project(self) -> dict[str, Any]:
        """The ``[project]`` table of its ``pyproject.toml``."""
        project: dict[str, Any] = tomllib.loads((self.folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        return project

    @property
    def distribution(self) -> str:
        """What pip calls it."""
        name: str = self.project["name"]
        return name

    @property
    def import_name(self) -> str:
        """What Python calls it."""
        return "tunesmith" if self.distribution == "tunesmith-core" else self.distribution.replace("-", "_")

    @property
    def plugin(self) -> str:
        """The name of its entry point, by the rule that every package of this repository follows."""
        return self.distribution.removeprefix("tunesmith-")

    @property
    def source(self) -> Path:
        """The folder of its code."""
        return self.folder / "src" / self.import_name

    def modules(self) -> list[Path]:
        """Every Python file of its code, sorted; files that are templates of other people's code are left out."""
        return sorted(path for path in self.source.rglob("*.py") if "scaffolds" not in path.parts)

    def __str__(self) -> str:
        return str(self.folder.relative_to(ROOT))


CORE = Package(ROOT / "core")


def plugin_packages() -> list[Package]:
    """Every package but the core, sorted by folder."""
    projects = (path for group in GROUPS for path in sorted((ROOT / group).glob("*/pyproject.toml")))
    return [Package(path.parent) for path in projects]


def written_files() -> Iterator[Path]:
    """Every file of the checkout that somebody wrote, sorted within its folder."""
    for folder, folders, files in os.walk(ROOT):
        folders[:] = sorted(name for name in folders if name not in MADE and not name.endswith((".egg-info", "_cache")))
        # In a linked worktree .git is a file that git wrote.
        yield from (Path(folder) / name for name in sorted(files) if name != ".git" and not name.startswith(".coverage"))
