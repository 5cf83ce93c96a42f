"""Start a plugin package: the files of ``scaffolds/shared`` and ``scaffolds/<kind>``, with the names filled in.

In a path, ``PACKAGE`` stands for the import name. In a file (all end in ``.tmpl``), ``$name``, ``$package``, ``$distribution``,
``$Class``, ``$key`` and ``$requires`` stand for what :class:`Names` and :class:`Kind` say.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path, PurePosixPath
from string import Template

from tunesmith.errors import TunesmithError, nearest
from tunesmith.plugins import Plugins

PREFIX = "tunesmith-"
NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")


@dataclass(frozen=True)
class Kind:
    """One kind of plugin that can be started: its axis, and what its package requires."""

    axis: str
    requires: str = "tunesmith-core[runtime]>=0.1,<0.2"


_LIGHT = "tunesmith-core>=0.1,<0.2"

KINDS: Mapping[str, Kind] = {
    "template": Kind("templates", _LIGHT),
    "tool-syntax": Kind("tool_syntaxes", _LIGHT),
    "source": Kind("sources", _LIGHT),
    "format": Kind("formats", _LIGHT),
    "tuner": Kind("tuners"),
    "trainer": Kind("trainers"),
    "reward": Kind("rewards", _LIGHT),
    "tool": Kind("tools", _LIGHT),
    "optimizer": Kind("optimizers"),
    "quantizer": Kind("quantizers"),
    "accelerator": Kind("accelerators"),
    "backend": Kind("backends"),
    "launcher": Kind("launchers"),
    "strategy": Kind("strategies"),
    "engine": Kind("engines"),
    "command": Kind("commands", _LIGHT),
}


@dataclass(frozen=True)
class Names:
    """One name in every form that a package needs: ``my-way`` is also ``tunesmith-my-way``, ``MyWay`` and ``my_way``."""

    name: str

    @property
    def distribution(self) -> str:
        """What people ``pip install``."""
        return f"{PREFIX}{self.name}"

    @property
    def package(self) -> str:
        """What Python imports."""
        return self.distribution.replace("-", "_")

    @property
    def key(self) -> str:
        """The stem of flat configuration keys."""
        return self.name.replace("-", "_")

    @property
    def class_name(self) -> str:
        """The stem of class names."""
        return "".join(word.capitalize() for word in self.name.split("-"))


def start_package(kind: str, name: str, folder: Path, plugins: Plugins) -> list[Path]:
    """Write a package that offers one thing of ``kind`` called ``name`` into ``folder``; returns the files.

    :raises TunesmithError: no such kind, a name that cannot be used or is taken, or a folder that holds something.
    """
    facts = _kind(kind)
    names = Names(name)
    _check_name(name)
    _check_free(facts, names, plugins)
    _check_empty(folder)
    return [_write(folder, path, text, names, facts) for path, text in _files(kind)]


def _kind(kind: str) -> Kind:
    if kind not in KINDS:
        raise TunesmithError(
            f"There is no kind of plugin {kind!r}.", nearest(kind, KINDS) or f"Write one of {', '.join(KINDS)}."
        )
    return KINDS[kind]


def _check_name(name: str) -> None:
    if name.startswith(PREFIX):
        raise TunesmithError(f"The name {name!r} already starts with {PREFIX!r}.", f"Write {name.removeprefix(PREFIX)}.")
    if not NAME.fullmatch(name):
        better = re.sub(r"[^a-z0-9]+", "-", re.sub(r"(?<=[a-z])(?=[A-Z])", "-", name).lower()).strip("-0123456789")
        raise TunesmithError(
            f"{name!r} cannot be the name of a package: it takes small letters, digits and single hyphens, a letter first.",
            f"Write {better or 'a name such as my-way'}.",
        )


def _check_free(kind: Kind, names: Names, plugins: Plugins) -> None:
    registry = plugins.axis(kind.axis)
    owner = next((str(offer.owner) for offer in registry if offer.spec.name == names.name), None)
    owner = owner or plugins.catalogue.names(kind.axis).get(names.name)
    if owner:
        raise TunesmithError(f"The {registry.word} {names.name!r} is already offered by {owner}.", "Choose another name.")
    if names.name in plugins.owners:
        raise TunesmithError(f"There is already a plugin named {names.name!r}.", "Choose another name.")
    if any(names.distribution in packages.values() for packages in plugins.catalogue.axes.values()):
        raise TunesmithError(f"{names.distribution} is a package of this project.", "Choose another name.")


def _check_empty(folder: Path) -> None:
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise TunesmithError(
            f"{folder} is there already and holds something.", "Write --out with a folder that is new or empty."
        )


def _files(kind: str) -> Iterator[tuple[PurePosixPath, str]]:
    root = resources.files("tunesmith").joinpath("scaffolds")
    for part in ("shared", kind):
        yield from _walk(root.joinpath(part), PurePosixPath())


def _walk(folder: Traversable, at: PurePosixPath) -> Iterator[tuple[PurePosixPath, str]]:
    for item in sorted(folder.iterdir(), key=lambda item: item.name):
        if item.is_dir():
            yield from _walk(item, at / item.name)
        elif item.name.endswith(".tmpl"):
            yield at / item.name.removesuffix(".tmpl"), item.read_text(encoding="utf-8")


def _write(out: Path, path: PurePosixPath, text: str, names: Names, kind: Kind) -> Path:
    words = {
        **asdict(names),
        "distribution": names.distribution,
        "package": names.package,
        "key": names.key,
        "Class": names.class_name,
        "requires": kind.requires,
    }
    file = out / str(path).replace("PACKAGE", names.package)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(Template(text).substitute(words), encoding="utf-8")
    return file
