"""Folders of flat arrays: complete or not there, each with a manifest of sizes and sums.

A folder is written under another name and renamed. ``manifest.json`` holds sizes, SHA-256 sums, the key that says what the
content was made of, and what its writer adds. Arrays are read without pickle.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from tunesmith.errors import TunesmithError

if TYPE_CHECKING:
    from numpy.typing import NDArray

SCHEMA = 1
MANIFEST = "manifest.json"
STAGING = ".staging-"
#: Bytes of an ``.npy`` file that holds a header only.
EMPTY = 128
HINT = "Remove the folder, or prepare the data anew: overwrite_cache: true"


@contextmanager
def staged(folder: Path) -> Iterator[Path]:
    """A folder to write into, which becomes ``folder`` when all went well and vanishes otherwise; an older one is replaced."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    staging = folder.parent / f"{STAGING}{folder.name}-{os.getpid()}"
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir()
    try:
        yield staging
        if folder.exists():
            shutil.rmtree(folder)
        staging.rename(folder)
    except BaseException as error:
        shutil.rmtree(staging, ignore_errors=True)
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            hint = "Make room, or write data_cache_dir: a folder on another disk."
            raise TunesmithError(f"Prepared data could not be written to {folder.parent}: {error.strerror}.", hint) from error
        raise


class ArrayFile:
    """An ``.npy`` file that grows: its header is written again when the length is known."""

    def __init__(self, path: Path, dtype: str) -> None:
        self._file: IO[bytes] = path.open("wb")
        self._dtype = dtype
        self._count = 0
        self._digest = hashlib.sha256()
        self._start = self._write_header()
        self.name = path.name

    def append(self, array: NDArray[Any]) -> None:
        """Add a flat array of the file's dtype."""
        data = array.astype(self._dtype, copy=False).tobytes()
        self._file.write(data)
        self._digest.update(data)
        self._count += len(array)

    def close(self) -> dict[str, Any]:
        """Finish the file; its name, length in bytes and the SHA-256 of what follows the header."""
        self._file.seek(0)
        if self._write_header() != self._start:
            raise RuntimeError(f"the header of {self.name} grew")
        size = self._file.seek(0, os.SEEK_END)
        self._file.close()
        return {"name": self.name, "bytes": size, "sha256": self._digest.hexdigest()}

    def _write_header(self) -> int:
        import numpy as np

        header = BytesIO()
        shape = {"descr": np.dtype(self._dtype).str, "fortran_order": False, "shape": (self._count,)}
        np.lib.format.write_array_header_1_0(header, shape)
        return self._file.write(header.getvalue())


def write_array(path: Path, array: NDArray[Any]) -> dict[str, Any]:
    """Write one flat array at once; facts for the manifest as :meth:`ArrayFile.close` gives them."""
    file = ArrayFile(path, array.dtype.str)
    file.append(array)
    return file.close()


def read_array(path: Path) -> NDArray[Any]:
    """Map a flat array into memory, as a plain array: slices of it cost a fraction of those of numpy's ``memmap``."""
    import numpy as np

    empty = path.stat().st_size <= EMPTY  # which cannot be mapped
    return np.asarray(np.load(path, mmap_mode=None if empty else "r", allow_pickle=False))


def write_manifest(folder: Path, **content: Any) -> None:
    """Write ``manifest.json``."""
    text = json.dumps({"schema": SCHEMA, **content}, ensure_ascii=False, indent=1)
    (folder / MANIFEST).write_text(text, encoding="utf-8")


def read_manifest(folder: Path) -> dict[str, Any]:
    """Read ``manifest.json`` and make sure that the files it lists are there in full length.

    :raises TunesmithError: this is no token store, or a damaged one.
    """
    try:
        manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise TunesmithError(f"{folder} holds no prepared data: {MANIFEST} cannot be read ({error}).", HINT) from error
    if manifest.get("schema") != SCHEMA:
        raise TunesmithError(f"{folder} was written by another version of Tunesmith (schema {manifest.get('schema')}).", HINT)
    for file in manifest.get("files", ()):
        path = folder / file["name"]
        if not path.is_file() or path.stat().st_size != file["bytes"]:
            raise TunesmithError(f"{path} is not there in full length.", HINT)
    return manifest


def verify(folder: Path) -> None:
    """Read every array of a folder and compare its SHA-256 with the manifest's.

    :raises TunesmithError: one differs.
    """
    for file in read_manifest(folder).get("files", ()):
        with (folder / file["name"]).open("rb") as data:
            data.seek(8)
            data.seek(10 + int.from_bytes(data.read(2), "little"))
            if hashlib.file_digest(data, "sha256").hexdigest() != file["sha256"]:
                raise TunesmithError(f"{folder / file['name']} was changed after it was written.", HINT)
