"""Commands that were started from the page, each a process of its own. They belong to the server, not to a browser."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from tunesmith.errors import TunesmithError

#: Bytes of a log's end that are shown.
SHOWN = 20_000


@dataclass
class Job:
    """One command on one file. ``output``: the folder that it writes, which no second one may write meanwhile."""

    name: str
    output: Path | None
    log: Path
    process: subprocess.Popen[bytes]
    asked: int = 0

    @property
    def status(self) -> str:
        """``running``, ``done``, or how it ended."""
        code = self.process.poll()
        return "running" if code is None else "done" if code == 0 else f"ended with {code}"

    def tail(self) -> str:
        """The end of what it has said."""
        if not self.log.is_file():
            return ""
        with self.log.open("rb") as said:
            said.seek(max(0, self.log.stat().st_size - SHOWN))
            return said.read().decode("utf-8", "replace")


@dataclass
class Jobs:
    """All of them, oldest first. ``logs``: the folder that gets what they say."""

    logs: Path
    known: dict[str, Job] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def start(self, command: str, file: Path, output: Path | None) -> Job:
        """Start ``tunesmith COMMAND FILE``.

        :raises TunesmithError: one that writes the same folder is running.
        """
        with self.lock:
            for other in self.known.values():
                if output is not None and other.output == output and other.process.poll() is None:
                    raise TunesmithError(
                        f"{other.name} is running and writes {output}.", "Stop it first, or write another folder."
                    )
            name = f"{len(self.known) + 1} {command} {file.name}"
            self.logs.mkdir(parents=True, exist_ok=True)
            log = self.logs / f"{time.strftime('%Y%m%d-%H%M%S')}-{name.replace(' ', '-')}.log"
            with log.open("wb") as said:
                line = [sys.executable, "-m", "tunesmith.cli.main", command, str(file)]
                process = subprocess.Popen(  # a session of its own: Ctrl-C at the server is not for the runs
                    line, stdin=subprocess.DEVNULL, stdout=said, stderr=subprocess.STDOUT, start_new_session=True
                )
            self.known[name] = job = Job(name, output, log, process)
            return job

    def stop(self, name: str) -> None:
        """Ask a job to end: first so that it keeps its work, then at once.

        :raises TunesmithError: there is none of that name, or it has ended.
        """
        job = self.known.get(name)
        if job is None or job.process.poll() is not None:
            raise TunesmithError(f"{name or 'Nothing'} is not running.")
        job.asked += 1
        job.process.send_signal(signal.SIGINT)

    def running(self) -> list[str]:
        """Names of those that have not ended."""
        return [job.name for job in self.known.values() if job.process.poll() is None]
