"""Checkpoints: staged, synced, listed in a manifest with sizes and hashes, renamed into place, and only then counted.

A folder ``checkpoint-20`` with a manifest is complete. Whatever a crash leaves behind is called ``.staging-…``.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path

from tunesmith.errors import TunesmithError
from tunesmith.output_folder import CHECKPOINT, STAGING
from tunesmith.runtime.durable_files import open_as_usual, sync, sync_tree
from tunesmith.values import from_plain

log = logging.getLogger(__name__)

SCHEMA = 1
MANIFEST = "manifest.json"
REPLACED = ".replaced"


@dataclass(frozen=True)
class Entry:
    """One file of a checkpoint: its size in bytes and its SHA-256."""

    size: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """What a checkpoint holds and what it was made from. ``files`` are relative paths with forward slashes."""

    step: int
    files: Mapping[str, Entry]
    fingerprints: Mapping[str, str] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    schema: int = SCHEMA


@dataclass(frozen=True)
class Checkpoint:
    """A folder that resume may start from. ``manifest`` is ``None`` for one that another program wrote."""

    folder: Path
    manifest: Manifest | None

    @cached_property
    def step(self) -> int:
        """The optimizer step after which it was written."""
        if self.manifest is not None:
            return self.manifest.step
        return int(json.loads((self.folder / "trainer_state.json").read_text(encoding="utf-8"))["global_step"])


# ---- writing ---------------------------------------------------------------------------------------------------------


def stage(target: Path) -> Path:
    """An empty folder to write the checkpoint ``target`` into."""
    staging = target.with_name(STAGING + target.name)
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    return staging


def discard(staging: Path) -> None:
    """Remove what was written so far; what cannot be removed now is cleaned up on the next resume."""
    shutil.rmtree(staging, ignore_errors=True)


def publish(staging: Path, target: Path, step: int, fingerprints: Mapping[str, str], versions: Mapping[str, str]) -> None:
    """Seal what was written into ``staging`` and give it its name. Only now does it count."""
    manifest = Manifest(step, hash_files(staging), dict(fingerprints), dict(versions))
    text = json.dumps(asdict(manifest), indent=1)
    (staging / MANIFEST).write_text(text, encoding="utf-8")
    open_as_usual(staging)
    sync_tree(staging)
    if target.exists():
        _swap(staging, target)
    else:
        staging.rename(target)
    sync(target.parent)


def _swap(staging: Path, target: Path) -> None:
    """Folders cannot be replaced in one step: the old one stays findable under another name until the new one is there."""
    old = target.with_name(STAGING + target.name + REPLACED)
    shutil.rmtree(old, ignore_errors=True)
    target.rename(old)
    staging.rename(target)
    shutil.rmtree(old)


def hash_files(folder: Path) -> dict[str, Entry]:
    """Size and SHA-256 of every file below ``folder`` but the manifest."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != MANIFEST)
    with ThreadPoolExecutor(max_workers=min(4, os.cpu_count() or 1)) as pool:
        hashes = list(pool.map(_sha256, files))
    return {
        path.relative_to(folder).as_posix(): Entry(path.stat().st_size, sha) for path, sha in zip(files, hashes, strict=True)
    }


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def rotate(output_dir: Path, keep: int | None, spare: Collection[Path] = ()) -> None:
    """Remove the oldest checkpoints until ``keep`` are left (``None`` or 0 keeps all); those in ``spare`` stay."""
    if not keep or keep < 1:
        return
    spared = {path.resolve() for path in spare}
    folders = checkpoints_in(output_dir)
    removable = [folder for folder in folders[:-1] if folder.resolve() not in spared]
    for folder in removable[: max(0, len(folders) - keep)]:
        doomed = folder.with_name(STAGING + folder.name + ".removing")
        folder.rename(doomed)
        shutil.rmtree(doomed)


def clean_up(output_dir: Path) -> None:
    """Remove what a crash left half written; an old checkpoint whose replacement never arrived gets its name back."""
    for left in sorted(output_dir.glob(f"{STAGING}*")):
        target = output_dir / left.name.removeprefix(STAGING).removesuffix(REPLACED)
        if left.name.endswith(REPLACED) and not target.exists() and not trouble_with(left):
            left.rename(target)
        elif left.is_dir():
            shutil.rmtree(left)


# ---- reading ---------------------------------------------------------------------------------------------------------


def checkpoints_in(output_dir: Path) -> list[Path]:
    """The checkpoint folders of a run, oldest first, whether they verify or not."""
    if not output_dir.is_dir():
        return []
    found = [path for path in output_dir.iterdir() if path.is_dir() and CHECKPOINT.fullmatch(path.name)]
    return sorted(found, key=lambda path: int(path.name.rpartition("-")[2]))


def read_manifest(folder: Path) -> Manifest:
    """What the checkpoint says it holds.

    :raises ValueError: there is no manifest that this version can read.
    """
    file = folder / MANIFEST
    if not file.is_file():
        raise ValueError(f"it has no {MANIFEST}")
    plain = json.loads(file.read_text(encoding="utf-8"))
    if not isinstance(plain, dict) or plain.get("schema") != SCHEMA:
        raise ValueError(f"its {MANIFEST} is not of schema {SCHEMA}")
    manifest: Manifest = from_plain(Manifest, plain)
    return manifest


def trouble_with(folder: Path) -> str:
    """Why a checkpoint does not verify, or the empty string when every file is there with its size and hash."""
    try:
        manifest = read_manifest(folder)
    except (ValueError, TypeError, KeyError, OSError) as error:
        return str(error)
    for name, entry in manifest.files.items():
        file = folder / name
        if not file.is_file():
            return f"{name} is not there"
        if file.stat().st_size != entry.size:
            return f"{name} has {file.stat().st_size} bytes instead of {entry.size}"
    wrong = [name for name, entry in hash_files(folder).items() if name in manifest.files and manifest.files[name] != entry]
    return f"the content of {wrong[0]} has changed" if wrong else ""


def find_checkpoint(output_dir: Path, asked: bool | str, *, trust: bool) -> Checkpoint:
    """The checkpoint to go on from: the newest of the run that verifies, or the one that was named.

    :param asked: ``resume_from_checkpoint``: true, or a folder.
    :param trust: ``trust_checkpoint``: also take a folder that another program or another run wrote.
    :raises TunesmithError: there is none.
    """
    if isinstance(asked, str):
        return _named(Path(asked).expanduser(), output_dir, trust)
    for folder in reversed(checkpoints_in(output_dir)):
        trouble = trouble_with(folder)
        if not trouble:
            return Checkpoint(folder, read_manifest(folder))
        log.warning("%s is not used: %s.", folder, trouble)
    raise TunesmithError(
        f"resume_from_checkpoint: {output_dir} holds no checkpoint that verifies.",
        "Leave resume_from_checkpoint out to start from the beginning.",
    )


def _named(folder: Path, output_dir: Path, trust: bool) -> Checkpoint:
    if not folder.is_dir():
        raise TunesmithError(f"resume_from_checkpoint: there is no folder {folder}.", _those_there_are(output_dir))
    own = folder.resolve().parent == output_dir.resolve()
    trouble = trouble_with(folder)
    if not trouble and (own or trust):
        return Checkpoint(folder, read_manifest(folder))
    reason = trouble or f"it does not belong to {output_dir}"
    if not trust or (trouble and (folder / MANIFEST).is_file()):
        hint = _those_there_are(output_dir) if own else "Write trust_checkpoint: true if you know where it comes from."
        raise TunesmithError(f"resume_from_checkpoint: {folder} is not used: {reason}.", hint)
    if not (folder / "trainer_state.json").is_file():
        raise TunesmithError(f"resume_from_checkpoint: {folder} is no checkpoint: it holds no trainer_state.json.")
    return Checkpoint(folder, None)


def _those_there_are(output_dir: Path) -> str:
    names = ", ".join(path.name for path in checkpoints_in(output_dir))
    return f"{output_dir} holds {names}." if names else f"{output_dir} holds no checkpoint."
