"""What prepared data was made of, and where it is kept.

A folder's name is a hash of everything that its content depends on, so it cannot be stale: the bytes of the data, its entry,
the format and its version, the template, the tokenizer, and the settings that matter. ``tokenized_path`` is a folder with a
name of the user's own, so there the same facts are compared, and a difference is named.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tunesmith import __version__
from tunesmith.data.arrays import MANIFEST, SCHEMA, read_manifest
from tunesmith.data.work import Wishes
from tunesmith.errors import TunesmithError
from tunesmith.plan import DatasetPlan
from tunesmith.registry import Offer

#: Keys of an entry that say where the rows are, not what they are.
PLACES = ("file_name", "folder")
Key = Mapping[str, Any]


def cache_home() -> Path:
    """``$TUNESMITH_CACHE``, else ``tunesmith`` in the user's cache folder."""
    if named := os.environ.get("TUNESMITH_CACHE"):
        return Path(named).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "tunesmith"


def default_folder() -> Path:
    """Where prepared data is kept unless somebody says otherwise."""
    return cache_home() / "data"


@dataclass(frozen=True)
class Places:
    """Where rows and runs are kept. ``named``: the folder is the user's own, and holds one run."""

    rows: Path
    runs: Path
    named: bool = False

    @classmethod
    def of(cls, tokenized_path: str | None, cache: str | None) -> Places:
        """The user's own folder, else the cache."""
        if tokenized_path:
            root = Path(tokenized_path).expanduser()
            return cls(root / "rows", root, named=True)
        root = Path(cache).expanduser() if cache else default_folder()
        return cls(root / "rows", root / "runs")

    def rows_of(self, key: Key) -> Path:
        """The folder of one dataset's rows."""
        return self.rows / fingerprint(key)

    def run_of(self, key: Key) -> Path:
        """The folder of the views of one run."""
        return self.runs / ("run" if self.named else fingerprint(key))


# ---- keys ------------------------------------------------------------------------------------------------------------


def fingerprint(key: Key) -> str:
    """A short name for everything in ``key``."""
    return hashlib.sha256(json.dumps(key, sort_keys=True, ensure_ascii=False, default=str).encode()).hexdigest()[:32]


def stream_key(dataset: DatasetPlan, files: Sequence[Path], offer: Offer[Any], wishes: Wishes, read: Mapping[str, Any]) -> Key:
    """As :func:`rows_key`, for data that is not read beforehand: of the files it knows names and sizes only."""
    sizes = [[file.name, file.stat().st_size] for file in files]
    return {**rows_key(dataset, (), offer, wishes, read), "data": sizes or dataset.version}


def rows_key(dataset: DatasetPlan, files: Sequence[Path], offer: Offer[Any], wishes: Wishes, read: Mapping[str, Any]) -> Key:
    """Everything that the rows of one dataset depend on.

    :param read: fingerprints of template and tokenizer, and what else decides which rows are read.
    """
    return {
        "schema": SCHEMA,
        "tunesmith": __version__,
        "data": [_sum(file) for file in files] or dataset.version or f"unknown: {os.urandom(16).hex()}",
        "version": dataset.version,
        "entry": {name: value for name, value in dataset.entry.items() if name not in PLACES},
        "format": f"{offer.owner.plugin} {offer.owner.distribution} {offer.owner.version} {_code(offer.load())}",
        "wishes": asdict(wishes),
        **read,
    }


def _sum(file: Path) -> str:
    with file.open("rb") as data:
        return hashlib.file_digest(data, "sha256").hexdigest()


def _code(loaded: Any) -> str:
    """A hash of the module that a format comes from, since a version says nothing while somebody is writing it."""
    module = sys.modules.get(getattr(loaded, "__module__", ""))
    file = getattr(module, "__file__", None)
    return _sum(Path(file))[:16] if file and Path(file).is_file() else ""


def differences(old: Any, new: Any, name: str = "") -> Iterator[str]:
    """What differs between two keys, in words."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for part in dict.fromkeys([*old, *new]):
            yield from differences(old.get(part), new.get(part), f"{name}.{part}" if name else part)
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for number, (a, b) in enumerate(zip(old, new, strict=True)):
            yield from differences(a, b, f"{name}[{number}]")
    elif old != new:
        words = [json.dumps(value, ensure_ascii=False, default=str) for value in (old, new)]
        yield f"{name}: {words[0]} → {words[1]}" if max(map(len, words)) <= 40 else name


def check_named(folder: Path, key: Key) -> bool:
    """Whether the user's own folder holds the run that ``key`` stands for; ``False`` when it is empty or not there.

    :raises TunesmithError: it holds something else; the message names the difference.
    """
    run = folder / "run"
    if not folder.is_dir() or not any(not entry.name.startswith(LOCK) for entry in folder.iterdir()):
        return False
    if not (run / MANIFEST).is_file():
        if (folder / "rows").is_dir():  # a run that was interrupted while it was writing here
            return False
        raise TunesmithError(f"tokenized_path: {folder} holds files that are no prepared data.", "Name an empty or new folder.")
    plain = json.loads(json.dumps(key, default=str))
    if changed := list(differences(read_manifest(run)["key"], plain)):
        shown = ", ".join(changed[:5]) + (", …" if len(changed) > 5 else "")
        hint = "Name another folder, undo the change, or prepare anew with overwrite_cache: true"
        raise TunesmithError(f"tokenized_path: {folder} was prepared from something else: {shown}.", hint)
    return True


# ---- one at a time ---------------------------------------------------------------------------------------------------

LOCK = ".lock-"


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the lock of a folder that may not be there yet: one process at a time makes it, and the others find it made.

    The system frees the lock of a process that dies.
    """
    import fcntl

    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        opened = (folder.parent / f"{LOCK}{folder.name}").open("a")
    except OSError as error:
        hint = "Write data_cache_dir (or tokenized_path): a folder that this user may write to."
        raise TunesmithError(f"Prepared data cannot be kept in {folder.parent}: {error.strerror}.", hint) from error
    with opened as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
