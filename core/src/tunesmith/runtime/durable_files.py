"""Files that are either there in full or not at all, and what to tell a user whose disk will not take them."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from tunesmith.errors import TunesmithError

#: Troubles of the disk or its permissions that only the user can mend.
USERS_OWN = {errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO, errno.ENAMETOOLONG}


def write_text(path: Path, text: str) -> None:
    """Write a file so that a crash leaves either the old content or the new, never half of it."""
    draft = path.with_name(f".{path.name}.writing")
    try:
        draft.write_text(text, encoding="utf-8")
        sync(draft)
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    sync(path.parent)


def write_json(path: Path, plain: Any) -> None:
    """:func:`write_text` with ``plain`` as indented JSON."""
    write_text(path, json.dumps(plain, indent=2, ensure_ascii=False, default=str) + "\n")


def sync(path: Path) -> None:
    """Wait until a file or folder has reached the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_tree(folder: Path) -> None:
    """Wait until everything below ``folder`` has reached the disk."""
    for parent, _, names in os.walk(folder, topdown=False):
        for name in names:
            sync(Path(parent) / name)
        sync(Path(parent))


def open_as_usual(folder: Path) -> None:
    """Give every file below ``folder`` the permissions that the user's umask means; safetensors lets only the owner read."""
    mask = os.umask(0)
    os.umask(mask)
    for path in folder.rglob("*"):
        if path.is_file():
            path.chmod(0o666 & ~mask)


def move_into(source: Path, target: Path) -> None:
    """Move every entry of ``source`` into ``target``, each replacing what bears its name, and remove ``source``."""
    target.mkdir(parents=True, exist_ok=True)
    for entry in sorted(source.iterdir()):
        if entry.is_dir():
            move_into(entry, target / entry.name)
        else:
            entry.replace(target / entry.name)
    source.rmdir()
    sync(target)


@contextmanager
def disk_troubles(doing: str, hint: str) -> Iterator[None]:
    """Turn a full disk, a missing permission and the like into the user's error; everything else passes unchanged.

    :param doing: what failed ("writing checkpoint-20 into saves/a").
    :param hint: what is still there, and what to do.
    """
    try:
        yield
    except (OSError, SafetensorError) as error:
        reason = _users_own(error)
        if reason is None:
            raise
        raise TunesmithError(f"{doing} failed: {reason}.", hint) from error


def _users_own(error: OSError | SafetensorError) -> str | None:
    if isinstance(error, OSError):
        return (error.strerror or str(error)) if error.errno in USERS_OWN else None
    # safetensors writes from Rust and reports the system's error as text only.
    return next((os.strerror(code) for code in USERS_OWN if f"os error {code})" in str(error)), None)
