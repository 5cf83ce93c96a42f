"""Wheels of packages that are installed here, from a checkout or a wheel, made of their own files and without a network."""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import zipfile
from collections.abc import Iterable, Iterator
from importlib import metadata
from pathlib import Path

from tunesmith.errors import TunesmithError

#: Files that belong to the installation, not to the package.
LOCAL = {"RECORD", "INSTALLER", "REQUESTED", "direct_url.json"}


def digest(distribution: str) -> str:
    """A hash of everything in the installed package."""
    found = hashlib.sha256()
    for name, path in _files(metadata.distribution(distribution)):
        found.update(name.encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    return found.hexdigest()


def pack(distribution: str, folder: Path) -> Path:
    """Write the wheel of an installed package into ``folder``.

    :raises TunesmithError: its files cannot be found.
    """
    held = metadata.distribution(distribution)
    files = list(_files(held))
    stem = _stem(held, files)
    wheel = folder / f"{stem}-{_tag(held)}.whl"
    folder.mkdir(parents=True, exist_ok=True)
    record = []
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as out:
        for name, path in files:
            data = path.read_bytes()
            out.writestr(name, data)
            record.append(f"{name},sha256={_encoded(data)},{len(data)}")
        listing = f"{stem}.dist-info/RECORD"
        out.writestr(listing, "\n".join([*record, f"{listing},,", ""]))
    return wheel


def _stem(held: metadata.Distribution, files: Iterable[tuple[str, Path]]) -> str:
    """Name and version as its metadata's folder spells them."""
    spelt = {name.partition("/")[0] for name, _ in files if name.partition("/")[0].endswith(".dist-info")}
    if len(spelt) != 1:
        raise TunesmithError(f"The metadata of {held.name} cannot be found.", f"pip install --force-reinstall {held.name}")
    return spelt.pop().removesuffix(".dist-info")


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()


def _tag(held: metadata.Distribution) -> str:
    """The first tag of the wheel that it was installed from; those of a checkout run everywhere."""
    lines = (held.read_text("WHEEL") or "").splitlines()
    tags = [line.partition(":")[2].strip() for line in lines if line.startswith("Tag:")]
    plain = [tag for tag in tags if tag.startswith("py")]
    if _is_checkout(held) or not tags:
        return plain[0] if plain else "py3-none-any"
    return tags[0]


def _is_checkout(held: metadata.Distribution) -> bool:
    return '"editable": true' in (held.read_text("direct_url.json") or "")


def _files(held: metadata.Distribution) -> Iterator[tuple[str, Path]]:
    """Name in the wheel, and file, in the order of names."""
    found = dict(_checkout_files(held) if _is_checkout(held) else _installed_files(held))
    return iter(sorted(found.items()))


def _installed_files(held: metadata.Distribution) -> Iterator[tuple[str, Path]]:
    for path in held.files or ():
        if _belongs(path.parts) and path.parts[0] != "..":
            yield path.as_posix(), Path(str(path.locate()))


def _checkout_files(held: metadata.Distribution) -> Iterator[tuple[str, Path]]:
    """What the metadata says, and every file of its packages where they really lie."""
    for path in held.files or ():
        if path.parts[0].endswith(".dist-info") and _belongs(path.parts):
            yield path.as_posix(), Path(str(path.locate()))
    for top in _top_level(held):
        for folder in _package_folders(top, held):
            for file in folder.rglob("*"):
                name = (top, *file.relative_to(folder).parts)
                if file.is_file() and _belongs(name):
                    yield "/".join(name), file


def _top_level(held: metadata.Distribution) -> list[str]:
    """The names it is imported by: not every build backend lists them, but its entry points lie in one of them."""
    listed = (held.read_text("top_level.txt") or "").split()
    return listed or sorted({entry.module.partition(".")[0] for entry in held.entry_points})


def _package_folders(top: str, held: metadata.Distribution) -> Iterable[Path]:
    spec = importlib.util.find_spec(top)
    if spec is None or not spec.submodule_search_locations:
        what = f"The package {top} of {held.name} cannot be found, so it cannot be put into a stack."
        raise TunesmithError(what, f"pip install --force-reinstall {held.name}")
    return [Path(place) for place in spec.submodule_search_locations]


def _belongs(parts: tuple[str, ...]) -> bool:
    return "__pycache__" not in parts and parts[-1] not in LOCAL and not parts[-1].endswith(".pyc")
