"""A server of our own in a process beside this one: started, waited for, ended with everything that it started."""

from __future__ import annotations

import http.client
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from tunesmith.errors import TunesmithError
from tunesmith.stacks.pip import environment

GUARD = Path(__file__).with_name("server_guard.py")
HOST = "127.0.0.1"
#: Seconds that a server has to end by itself before it is killed.
PATIENCE = 10.0
#: How much of a server's log an error shows.
LINES, BYTES = 25, 16384


@dataclass(frozen=True)
class ServerCommand:
    """What to run: an argument list, variables beside ours, and the path that answers 200 once the server is ready.

    ``secrets``: what must not be shown when the log is.
    """

    arguments: tuple[str, ...]
    variables: Mapping[str, str] = field(default_factory=dict)
    ready: str = "/health"
    secrets: tuple[str, ...] = ()


class ServerProcess:
    """One server process that listens on ``port`` of the loopback address.

    It is in a process group of its own, so that Ctrl-C does not reach it, and ends when this process ends, killed or not:
    :mod:`tunesmith.runtime.server_guard` sees to that. What it prints goes into a file without a name.
    """

    def __init__(self, name: str, command: ServerCommand, port: int) -> None:
        self.name = name
        self.command = command
        self.port = port
        self._log = tempfile.TemporaryFile()  # noqa: SIM115  lives as long as this object
        self._guard = subprocess.Popen(
            [sys.executable, "-I", str(GUARD), str(PATIENCE), *command.arguments],
            stdin=subprocess.PIPE,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            env={**environment(), **command.variables},
            start_new_session=True,
        )

    def wait_ready(self, seconds: float) -> None:
        """Return once the server answers.

        :raises TunesmithError: it ended, or took longer than ``seconds``; with the last lines of its log.
        """
        until = time.monotonic() + seconds
        while not self._answers():
            if self._guard.poll() is not None:
                raise self.fault(f"{self.name} ended before it was ready (exit status {self._guard.returncode})")
            if time.monotonic() > until:
                raise self.fault(f"{self.name} was not ready after {seconds:g} seconds")
            time.sleep(0.1)

    def _answers(self) -> bool:
        connection = http.client.HTTPConnection(HOST, self.port, timeout=5)
        try:
            connection.request("GET", self.command.ready)
            return connection.getresponse().status == http.HTTPStatus.OK
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    @property
    def runs(self) -> bool:
        """Whether it has not ended."""
        return self._guard.poll() is None

    def fault(self, message: str) -> TunesmithError:
        """An error with the end of the server's log as its hint."""
        return TunesmithError(f"{message}.", "Its log ends with:\n  " + "\n  ".join(self.last_lines()))

    def last_lines(self) -> Sequence[str]:
        """The end of what the server has printed."""
        size = os.fstat(self._log.fileno()).st_size
        text = os.pread(self._log.fileno(), BYTES, max(0, size - BYTES)).decode(errors="replace")
        for secret in self.command.secrets:
            text = text.replace(secret, "***")
        return text.splitlines()[-LINES:] or ["(nothing)"]

    def stop(self) -> None:
        """End it and everything that it started. Safe to call twice."""
        assert self._guard.stdin is not None
        with suppress(BrokenPipeError):
            self._guard.stdin.close()
        try:
            self._guard.wait(timeout=PATIENCE + 5)
        except subprocess.TimeoutExpired:  # it is stopped itself; the kernel then kills the server with it
            self._guard.kill()
            self._guard.wait()
        self._log.close()


def free_port() -> int:
    """A port of the loopback address that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def server_python(stack_python: Path) -> Mapping[str, str]:
    """Variables for a server that runs with the Python of a stack: its programs come first on the path."""
    path = os.pathsep.join([str(stack_python.parent), os.environ.get("PATH", os.defpath)])
    return {"VIRTUAL_ENV": str(stack_python.parents[1]), "PATH": path}
