"""How much memory this process uses and may use."""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path

import psutil
from tunesmith.contracts import Memory

#: A container's own limit and use, where it has one (cgroup version 2).
GROUPS = Path("/sys/fs/cgroup")


def read_memory(groups: Path = GROUPS) -> Memory:
    """Resident bytes of this process now and at most, and what the machine or the container has left and in all."""
    machine = psutil.virtual_memory()
    total, free = machine.total, machine.available
    limit, taken = _number(groups / "memory.max"), _number(groups / "memory.current")
    if limit is not None and limit < total:
        total, free = limit, min(free, max(0, limit - (taken or 0)))
    used = psutil.Process().memory_info().rss
    return Memory(used=used, peak=max(used, _peak()), free=free, total=total)


def _number(file: Path) -> int | None:
    """The number in a file of the control group; ``None`` without the file or a limit ("max")."""
    text = file.read_text(encoding="ascii").strip() if file.is_file() else "max"
    return None if text == "max" else int(text)


def _peak() -> int:
    """The most resident bytes so far."""
    if sys.platform == "win32":
        return int(psutil.Process().memory_info().peak_wset)
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # Linux counts in kibibytes, macOS in bytes


def give_back() -> None:
    """Ask the C library to return the freed parts of its heap; other libraries than glibc do so by themselves."""
    if sys.platform == "linux" and (trim := getattr(ctypes.CDLL(None), "malloc_trim", None)):
        trim(0)
