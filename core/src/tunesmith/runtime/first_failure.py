"""Of several processes that failed: which was the first, and what it said. The others most often fail because of it."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from tunesmith.errors import TunesmithError
from tunesmith.run_folder import LOOK, End, RunFolder

INTERRUPTED = 130
#: What torch says in the processes that are left when another is gone: a consequence, never the cause.
PEER_LOST = ("connection closed by peer", "connection reset by peer", "remote process exited", "communicator was aborted")


class FailureReport:
    """Prints the traceback of the first process that fails, as soon as it does."""

    def __init__(self, folder: RunFolder) -> None:
        self._folder = folder
        self._over = threading.Event()
        self._said: list[End] = []

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Within it, failures are printed as they come: the first of each start of the processes."""
        thread = threading.Thread(target=self._watch, name="tunesmith-failures", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._over.set()
            thread.join()

    def _watch(self) -> None:
        while not self._over.wait(LOOK):
            self._look()

    def _look(self) -> None:
        ends = self._folder.ends()
        if not ends:
            self._said = []  # all were started again
        elif not self._said and (first := first_failure(ends)) and not is_consequence(first):
            self._say(first)

    def _say(self, first: End) -> None:
        self._said = [first]
        if first.trace:
            say(f"Process {first.rank} failed first:\n{first.trace}")

    def conclude(self, exits: Mapping[int, int]) -> int:
        """What to return when processes have failed for good.

        :param exits: the exit status of each process that did not end well, by its rank; negative for a signal.
        :raises TunesmithError: the first failure was a user's mistake.
        """
        self._look()
        ends = {end.rank: end for end in self._folder.ends()}
        silent = {rank: status for rank, status in exits.items() if status and rank not in ends}
        first = self._said[0] if self._said else None
        for rank, status in silent.items():
            if status != -signal.SIGTERM or not ends:
                say(f"Process {rank} {_gone(status)}")
        if first is None and not silent and (first := first_failure(list(ends.values()))):
            self._say(first)
        if first is not None and not first.trace:
            raise TunesmithError(first.message, first.hint)
        others = sorted(rank for rank in exits if (first is None or rank != first.rank) and rank not in silent)
        if others:
            say(f"Brought down with it: process {', '.join(map(str, others))}.")
        return 1


def is_consequence(end: End) -> bool:
    """Whether it only says that another process is gone."""
    return any(words in end.message.lower() for words in PEER_LOST)


def first_failure(ends: list[End]) -> End | None:
    """The earliest end that is neither success nor answer to a signal, unless a signal came before it."""
    for end in sorted(ends, key=lambda end: (is_consequence(end), end.time)):
        if end.status == INTERRUPTED:
            return None
        if end.status:
            return end
    return None


def _gone(status: int) -> str:
    """What became of a process that left no word."""
    if status > 0:
        return f"ended with status {status} and said nothing."
    why = " The machine may have run out of memory." if status == -signal.SIGKILL else ""
    return f"was killed by {signal.Signals(-status).name}.{why}"


def say(text: str) -> None:
    """On standard error, in one piece."""
    sys.stderr.write(f"{text.rstrip()}\n")
    sys.stderr.flush()
