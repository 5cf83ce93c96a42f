"""Servers start, are waited for, and end with everything that they started, however we end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tunesmith.errors import TunesmithError
from tunesmith.runtime.server_flags import as_flags
from tunesmith.runtime.server_process import ServerCommand, ServerProcess, free_port

SERVER = """
import http.server, os, signal, subprocess, sys, time
port, folder, *words = sys.argv[1:]
if "stubborn" in words:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session="away" in words)
with open(folder + "/pids", "w") as out:
    out.write(f"{os.getpid()} {child.pid}")
print("my key is", os.environ.get("KEY"), flush=True)
if "broken" in words:
    sys.exit("no such device")
if "slow" in words:
    time.sleep(600)
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/health" else 404)
        self.send_header("Content-Length", "0")
        self.end_headers()
    def log_message(self, *args): pass
http.server.HTTPServer(("127.0.0.1", int(port)), Handler).serve_forever()
"""

OWNER = """
import sys, time
from tunesmith.runtime.server_process import *
port = free_port()
server = ServerProcess("acme", ServerCommand((sys.executable, "-c", sys.argv[1], str(port), *sys.argv[2:])), port)
server.wait_ready(30)
print(server._guard.pid, flush=True)
time.sleep(600)
"""


def start(folder: Path, *words: str) -> ServerProcess:
    port = free_port()
    arguments = (sys.executable, "-c", SERVER, str(port), str(folder), *words)
    return ServerProcess("acme", ServerCommand(arguments, {"KEY": "abc123"}, secrets=("abc123",)), port)


@pytest.fixture
def owner(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process of its own that has started a server."""
    command = [sys.executable, "-c", OWNER, SERVER, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        yield process
        process.kill()


def pids(folder: Path) -> list[int]:
    return [int(pid) for pid in (folder / "pids").read_text().split()]


def gone(pids: list[int], seconds: float = 5) -> bool:
    """Whether none of the processes is there any more, soon."""
    until = time.monotonic() + seconds
    while (left := list(filter(is_there, pids))) and time.monotonic() < until:
        time.sleep(0.02)
    return not left


def is_there(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.mark.parametrize("words", [(), ("away",)])
def test_a_server_ends_with_its_children_when_it_is_stopped(tmp_path: Path, words: tuple[str, ...]) -> None:
    server = start(tmp_path, *words)
    server.wait_ready(30)
    assert server.runs
    assert all(map(is_there, pids(tmp_path)))
    server.stop()
    server.stop()
    assert not server.runs
    assert gone(pids(tmp_path))


def test_a_server_that_will_not_end_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tunesmith.runtime.server_process.PATIENCE", 0.5)
    server = start(tmp_path, "stubborn")
    server.wait_ready(30)
    server.stop()
    assert gone(pids(tmp_path))


def test_a_server_that_ends_at_once_is_an_error_with_its_last_lines_but_not_its_key(tmp_path: Path) -> None:
    server = start(tmp_path, "broken")
    with pytest.raises(TunesmithError, match=r"acme ended before it was ready \(exit status 1\)") as caught:
        server.wait_ready(30)
    assert "my key is ***\n  no such device" in caught.value.hint
    assert gone(pids(tmp_path)), "its child outlived it"
    server.stop()


def test_a_server_that_takes_too_long_is_an_error(tmp_path: Path) -> None:
    server = start(tmp_path, "slow")
    with pytest.raises(TunesmithError, match=r"not ready after 0\.5 seconds"):
        server.wait_ready(0.5)
    server.stop()


def test_no_server_outlives_us_when_we_are_killed(owner: subprocess.Popen[str], tmp_path: Path) -> None:
    assert owner.stdout is not None
    guard = int(owner.stdout.readline())
    owner.kill()
    assert gone([guard, *pids(tmp_path)])


def test_no_server_outlives_its_guard(owner: subprocess.Popen[str], tmp_path: Path) -> None:
    assert owner.stdout is not None
    guard = int(owner.stdout.readline())
    os.kill(guard, signal.SIGKILL)
    assert gone(pids(tmp_path)[:1])


def test_ctrl_c_does_not_reach_the_server(owner: subprocess.Popen[str], tmp_path: Path) -> None:
    assert owner.stdout is not None
    owner.stdout.readline()
    assert os.getpgid(pids(tmp_path)[0]) not in (os.getpgid(owner.pid), os.getpgid(0))


def test_settings_become_flags() -> None:
    settings = {"max_len": 5, "eager": True, "fast": False, "none": None, "names": ["a b", "c"], "more": {"x": 1}}
    flags = ("--max-len", "5", "--eager", "--names", "a b", "c", "--more", '{"x": 1}')
    assert as_flags(settings) == flags
    assert as_flags({"fast": False}, negated="no-") == ("--no-fast",)
