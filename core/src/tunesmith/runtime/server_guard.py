"""Stands between us and a server: runs it in a process group of its own, and ends the whole group when we are gone.

Run as a script with the command after it, and nothing but the standard library::

    python server_guard.py SECONDS COMMAND …

Standard input is a pipe that nobody writes to. It closes when whoever holds the other end closes it or dies, however that
comes about; then the group gets SIGTERM and, ``SECONDS`` later, SIGKILL. The exit status is the server's.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

#: Options of prctl(2): signal for a process whose parent dies; whoever loses its parent becomes our child.
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36


def main(seconds: float, command: list[str]) -> int:
    """Run ``command`` until it ends or the pipe closes."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # the keyboard speaks to us, and we speak to the server
    tell_kernel(PR_SET_CHILD_SUBREAPER, 1)
    server = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True, preexec_fn=die_with_parent)
    signal.signal(signal.SIGTERM, lambda *_: end(server.pid, signal.SIGTERM))
    threading.Thread(target=watch, args=(server, seconds), daemon=True).start()
    status = server.wait()
    end(server.pid, signal.SIGKILL)  # what the server left behind
    end_children()
    return status if status >= 0 else 128 - status


def watch(server: subprocess.Popen[bytes], seconds: float) -> None:
    """Wait for the pipe to close, then end the group."""
    while os.read(0, 1):
        pass
    end(server.pid, signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        server.wait(timeout=seconds)
    end(server.pid, signal.SIGKILL)


def end(group: int, number: int) -> None:
    """Signal a process group, where there still is one."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def end_children() -> None:
    """Kill what left the server's group and came to us when its parent ended."""
    while children := own_children():
        for child in children:
            with suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
            with suppress(ChildProcessError):
                os.waitpid(child, 0)


def own_children() -> list[int]:
    """Processes whose parent this is; none where the system does not say."""
    try:
        listed = Path(f"/proc/self/task/{os.getpid()}/children").read_text(encoding="ascii")
    except OSError:
        return []
    return [int(number) for number in listed.split()]


def die_with_parent() -> None:
    """Called in the server's process before it becomes the server: it dies when this process is killed."""
    tell_kernel(PR_SET_PDEATHSIG, signal.SIGKILL)


def tell_kernel(option: int, value: int) -> None:
    """prctl(2), on Linux."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]), sys.argv[2:]))
