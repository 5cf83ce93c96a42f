"""One run at a time in an output folder, also where two start in the same second."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from tunesmith.errors import TunesmithError
from tunesmith.output_folder import WAIT, in_use

FILE = ".lock"
#: What file systems say that know no locks.
WITHOUT = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS)


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Hold a folder for this process. The system frees what a process held that dies.

    :raises TunesmithError: another run holds it; named where it can be.
    """
    folder.mkdir(parents=True, exist_ok=True)
    place = folder / FILE
    with _taken(place) as lock:
        if lock is None:
            raise TunesmithError(f"output_dir: {in_use(folder) or f'another run writes into {folder}'}.", WAIT)
        try:
            yield
        finally:
            place.unlink(missing_ok=True)


@contextmanager
def _taken(place: Path) -> Iterator[IO[str] | None]:
    """The open file, locked, or ``None`` where somebody else has the lock."""
    import fcntl

    while True:
        with place.open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield None
                return
            except OSError as error:
                if error.errno not in WITHOUT:
                    raise
                yield lock  # the record of the run, which planning reads, has to do
                return
            if _is_still(lock, place):  # else whoever held it has removed it in between, and a third may have made another
                yield lock
                return


def _is_still(lock: IO[str], place: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(lock.fileno()), place.stat())
    except FileNotFoundError:
        return False
