"""When nothing moves any more: every process says so and prints the stacks of all its threads."""

from __future__ import annotations

import faulthandler
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager


class Watchdog:
    """Waits in a thread of its own for signs of life, and after ``seconds`` without one prints where the process stands.

    Nothing is ended: what hangs may go on, and torch's own timeout (``ddp_timeout``) decides when it does not. The stacks are
    printed in one piece, so that those of several processes do not mix.

    :param seconds: 0 switches it off.
    :param name: how the process is named (``"process 1 of 2"``).
    """

    def __init__(self, seconds: float, name: str) -> None:
        self._seconds, self._name = seconds, name
        self._seen = time.monotonic()
        self._over = threading.Event()

    def alive(self) -> None:
        """A sign of life; costs a clock reading."""
        self._seen = time.monotonic()

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Within it, silence is noticed."""
        if not self._seconds:
            yield
            return
        self.alive()
        self._over.clear()
        thread = threading.Thread(target=self._watch, name="tunesmith-watchdog", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._over.set()
            thread.join()

    def _watch(self) -> None:
        while not self._over.wait(max(0.05, self._seen + self._seconds - time.monotonic())):
            silence = time.monotonic() - self._seen
            if silence >= self._seconds:
                self._print(silence)
                self.alive()

    def _print(self, silence: float) -> None:
        title = f"{self._name}: no step for {silence:.0f} seconds (hang_timeout). It stands here:"
        sys.stderr.write(f"\n{title}\n{stacks()}")
        sys.stderr.flush()


def stacks() -> str:
    """The stacks of all threads of this process, as faulthandler writes them."""
    with tempfile.TemporaryFile() as file:
        faulthandler.dump_traceback(file, all_threads=True)
        file.seek(0)
        return file.read().decode(errors="replace")
