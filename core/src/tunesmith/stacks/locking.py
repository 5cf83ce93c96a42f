"""The lock of a stack: every package in one version, with the hash of the very file, as a requirements file that pip reads."""

from __future__ import annotations

import json
import re
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packaging.utils import canonicalize_name

from tunesmith.errors import TunesmithError
from tunesmith.installation import foreign_requirements
from tunesmith.specs import StackSpec
from tunesmith.stacks.pip import pip

LINE = re.compile(r"([A-Za-z0-9._-]+)==(\S+) --hash=(sha256:[0-9a-f]{64})")
HEADING = "# stack: "
DEMAND = "# demand: "
FOR_US = " (for us)"


@dataclass(frozen=True)
class Locked:
    """One package of a lock."""

    name: str
    version: str
    hash: str

    def __str__(self) -> str:
        return f"{self.name}=={self.version} --hash={self.hash}"


@dataclass(frozen=True)
class Lock:
    """What a stack consists of, our own packages left out, and the demands that it answers."""

    stack: str
    demands: tuple[str, ...]
    packages: tuple[Locked, ...]

    @property
    def versions(self) -> dict[str, str]:
        """Version by distribution."""
        return {one.name: one.version for one in self.packages}

    def text(self) -> str:
        """The file: ``pip install --require-hashes --no-deps -r`` installs it."""
        lines = [HEADING + self.stack, *(DEMAND + demand for demand in self.demands), *map(str, self.packages)]
        return "\n".join([*lines, ""])

    @classmethod
    def read(cls, file: Path) -> Lock:
        """Read what :meth:`text` wrote.

        :raises TunesmithError: it is no lock; names the line.
        """
        stack, demands, packages = "", [], []
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
            if line.startswith(HEADING):
                stack = line.removeprefix(HEADING)
            elif line.startswith(DEMAND):
                demands.append(line.removeprefix(DEMAND))
            elif match := LINE.fullmatch(line.strip()):
                packages.append(Locked(*match.groups()))
            elif line.strip() and not line.startswith("#"):
                raise TunesmithError(
                    f"{file}:{number}: {line.strip()!r} is no locked package.", "name==version --hash=sha256:…"
                )
        if not stack:
            raise TunesmithError(
                f"{file} is no lock of a stack: it does not start with {HEADING!r}.", "tunesmith stack lock NAME"
            )
        return cls(stack, tuple(demands), tuple(packages))


def demands_of(spec: StackSpec, ours: Iterable[str]) -> tuple[str, ...]:
    """What a stack is asked to hold, as it is written into its lock and mark, so that a change is seen.

    :param ours: our own packages in it, whose requirements count too.
    """
    alone = (f"{requirement} (without its dependencies)" for requirement in spec.without_dependencies)
    return (f"python {spec.python}", *spec.requirements, *alone, *(one + FOR_US for one in foreign_requirements(ours)))


def unmet(held: Iterable[str], wanted: Iterable[str]) -> tuple[set[str], set[str]]:
    """The demands that what is ``held`` does not answer, and those of its own that nobody makes any more.

    It may hold more for packages of ours that are switched off today.
    """
    held, wanted = set(held), set(wanted)
    return wanted - held, {demand for demand in held - wanted if not demand.endswith(FOR_US)}


def resolve(python: Path, spec: StackSpec, demands: tuple[str, ...], wheels: Sequence[Path]) -> Lock:
    """Let pip decide on every version, with hashes; nothing is installed.

    :param python: the stack's own, fresh.
    :param demands: those of :func:`demands_of`.
    :param wheels: our packages.
    :raises TunesmithError: there is no set of versions that answers all demands; with pip's reasons.
    """
    ours = {canonicalize_name(wheel.name.partition("-")[0]) for wheel in wheels}
    found = _report(python, [*spec.requirements, *map(str, wheels)], f"find versions for the stack {spec.name}")
    alone = spec.without_dependencies
    apart = _report(python, ["--no-deps", *alone], f"find {', '.join(alone)}") if alone else []
    packages = {one.name: one for one in (*found, *apart) if one.name not in ours}
    return Lock(spec.name, demands, tuple(packages[name] for name in sorted(packages)))


def would_install(requirements: Sequence[str]) -> dict[str, str]:
    """What pip would install or replace in this very environment for ``requirements``, by distribution.

    :raises TunesmithError: it finds no way; with its reasons.
    """
    found = _report(Path(sys.executable), requirements, f"find a way to install {' '.join(requirements)}", beside=True)
    return {one.name: one.version for one in found}


def _report(python: Path, arguments: Iterable[str], doing: str, *, beside: bool = False) -> list[Locked]:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "report.json"
        options: list[str | Path] = ["install", "--dry-run", "--quiet", "--report", file]
        options += [] if beside else ["--ignore-installed"]
        pip(python, [*options, *arguments], doing=doing)
        listed = json.loads(file.read_text(encoding="utf-8"))["install"]
    return [_locked(item) for item in listed]


def _locked(item: Mapping[str, Any]) -> Locked:
    name, version = str(item["metadata"]["name"]), str(item["metadata"]["version"])
    hashes = item["download_info"].get("archive_info", {}).get("hashes", {})
    if "sha256" not in hashes:
        raise TunesmithError(f"The index gives no SHA-256 for {name} {version}.", "Use an index that does.")
    return Locked(str(canonicalize_name(name)), version, f"sha256:{hashes['sha256']}")
