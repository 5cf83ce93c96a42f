"""What is installed and what it runs on, read from metadata: nothing is imported to find out."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib import import_module, metadata, resources
from pathlib import Path

from packaging.requirements import Requirement

from tunesmith.contracts import Probe
from tunesmith.findings import Finding
from tunesmith.specs import AcceleratorSpec, BackendSpec

#: The libraries whose versions decide how a run behaves.
LIBRARIES = ("torch", "transformers", "peft", "accelerate", "datasets", "trl", "tokenizers", "safetensors", "numpy")
PREFIX = "tunesmith"
#: Packages that PyPI has under another name than Python imports them by.
ON_PYPI = {"sklearn": "scikit-learn", "PIL": "pillow", "cv2": "opencv-python"}


def how_to_install(packages: Iterable[str], distribution: str) -> str:
    """What to do about packages that Python cannot find, and which of ours knows more of them."""
    names = " ".join(ON_PYPI.get(name, name).replace("_", "-") for name in packages)
    return f"pip install {names}; the README of {distribution} says more."


@dataclass(frozen=True)
class Machine:
    """What a run has to live on. Memory and disk in bytes; 0 where the system does not say."""

    system: str
    python: str
    cores: int
    memory: int
    memory_free: int
    disk_free: int


@dataclass(frozen=True)
class Unmet:
    """A requirement of an installed distribution that the installation does not meet. ``found`` is ``None`` for absent."""

    distribution: str
    requirement: str
    found: str | None

    def __str__(self) -> str:
        return (
            f"{self.distribution} needs {self.requirement}, and {self.found or 'it'} is {'' if self.found else 'not '}installed"
        )


def version_of(distribution: str) -> str | None:
    """The installed version, or ``None``."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def our_versions() -> dict[str, str]:
    """Every installed distribution of this project and of those who follow its naming, with its version."""
    found = {d.name: d.version for d in metadata.distributions() if d.name and d.name.lower().startswith(PREFIX)}
    return dict(sorted(found.items()))


def tested_versions() -> dict[str, str]:
    """The versions that were tested together, by distribution."""
    lines = resources.files("tunesmith").joinpath("tested_versions.txt").read_text(encoding="utf-8").splitlines()
    return {name: version for name, _, version in (line.partition("==") for line in lines) if version}


def unmet_requirements(distributions: Iterable[str]) -> Iterator[Unmet]:
    """What the given distributions require, extras that they ask of each other included, and do not find."""
    for name, requirement in all_requirements(distributions):
        found = version_of(requirement.name)
        if found is None or not requirement.specifier.contains(found, prereleases=True):
            yield Unmet(name, _without_marker(requirement), found)


def foreign_requirements(distributions: Iterable[str]) -> tuple[str, ...]:
    """What the given distributions require of others, in order and without repetition."""
    found = {_without_marker(one) for _, one in all_requirements(distributions) if not one.name.startswith(PREFIX)}
    return tuple(sorted(found))


def all_requirements(distributions: Iterable[str]) -> Iterator[tuple[str, Requirement]]:
    """Each distribution with what it requires, extras that ours ask of each other included."""
    waiting = [(name, "") for name in distributions]
    seen: set[tuple[str, str]] = set()
    while waiting:
        name, extra = waiting.pop()
        if (name, extra) in seen:
            continue
        seen.add((name, extra))
        for requirement in _requirements(name, extra):
            yield name, requirement
            if requirement.name.startswith(PREFIX) and version_of(requirement.name) is not None:
                waiting += [(requirement.name, asked) for asked in requirement.extras]


def _requirements(distribution: str, extra: str) -> Iterator[Requirement]:
    for text in metadata.requires(distribution) or ():
        requirement = Requirement(text)
        if requirement.marker is None:
            if not extra:
                yield requirement
        elif requirement.marker.evaluate({"extra": extra}):
            yield requirement


def _without_marker(requirement: Requirement) -> str:
    return str(requirement).partition(";")[0].strip()


def probe(backend: BackendSpec) -> Probe:
    """Ask a backend, without torch, whether its device is here. Whatever its probe raises is passed on."""
    module, _, function = backend.probe.partition(":")
    found: Probe = getattr(import_module(module), function)()
    return found


def preflight(spec: BackendSpec | AcceleratorSpec) -> Iterator[Finding]:
    """Everything that one has to say about its device here, without torch. Whatever goes wrong in it is a line too."""
    module, _, function = spec.preflight.partition(":")
    try:
        yield from getattr(import_module(module), function)()
    except Exception as error:  # whatever it raises is what the user came here to learn
        what = f"the preflight of {spec.name} failed: {type(error).__name__}: {error}"
        yield Finding("fail", what, "Reinstall its package.")


def machine(folder: Path) -> Machine:
    """The machine, and the room on the disk that ``folder`` lies on."""
    return Machine(
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        python=f"{platform.python_implementation()} {platform.python_version()}",
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 0,
        memory=_pages("SC_PHYS_PAGES"),
        memory_free=_pages("SC_AVPHYS_PAGES"),
        disk_free=shutil.disk_usage(existing(folder)).free,
    )


def _pages(name: str) -> int:
    return os.sysconf(name) * os.sysconf("SC_PAGE_SIZE") if name in os.sysconf_names else 0


def existing(folder: Path) -> Path:
    """``folder``, or the nearest folder above it that is there."""
    folder = folder.absolute()
    while not folder.exists():
        folder = folder.parent
    return folder
