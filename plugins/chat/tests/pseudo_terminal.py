"""A program under a pseudo-terminal, its keys pressed and its screen read by a test."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time
from pathlib import Path

ESCAPES = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]|\x1b[=>]|\r")
CTRL_C, CTRL_D, ENTER, ALT_ENTER, UP = "\x03", "\x04", "\r", "\x1b\r", "\x1b[A"


class Terminal:
    """A program under a pseudo-terminal of 100 columns."""

    def __init__(self, command: list[str], home: Path, folder: Path) -> None:
        self.master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
        sized = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
        env = {**sized, "TERM": "xterm", "PROMPT_TOOLKIT_NO_CPR": "1", "XDG_STATE_HOME": str(home), "HF_HUB_OFFLINE": "1"}
        self.process = subprocess.Popen(
            command,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env=env,
            cwd=folder,
            start_new_session=True,
            preexec_fn=_own_terminal,
        )
        os.close(slave)
        self.seen = ""
        self.at = 0

    def press(self, keys: str) -> None:
        os.write(self.master, keys.encode())

    def enter(self, line: str, shows: str) -> str:
        """Type a line; it must show ``shows``. Returns what came before that."""
        self.press(line + ENTER)
        return self.wait_for(shows)

    def wait_for(self, text: str, seconds: float = 30) -> str:
        """Read until ``text`` shows; returns what came before it since the last wait."""
        end = time.monotonic() + seconds
        while text not in self.seen[self.at :]:
            assert time.monotonic() < end, f"no {text!r} in {self.seen[self.at :]!r}"
            self._read(0.1)
        found = self.seen.index(text, self.at)
        before, self.at = self.seen[self.at : found], found + len(text)
        return before

    def read_more(self, characters: int, seconds: float = 30) -> None:
        """Read until so much more was seen, whatever it says."""
        end, wanted = time.monotonic() + seconds, len(self.seen) + characters
        while len(self.seen) < wanted:
            assert time.monotonic() < end, f"no more than {self.seen[self.at :]!r}"
            self._read(0.1)

    def _read(self, seconds: float) -> None:
        if select.select([self.master], [], [], seconds)[0]:
            try:
                self.seen += ESCAPES.sub("", os.read(self.master, 65536).decode(errors="replace"))
            except OSError:
                time.sleep(seconds)  # the program has closed its side

    def end(self) -> int:
        return self.process.wait(timeout=20)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self.master)


def _own_terminal() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # a test run in the background ignores it, and so would its children
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
