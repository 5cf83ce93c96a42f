"""What processor this is, without torch."""

from __future__ import annotations

import os
from pathlib import Path

from tunesmith.contracts import Probe

from tunesmith_cpu.memory import read_memory
from tunesmith_cpu.processor import bfloat16_by


def probe() -> Probe:
    """The processor is always here. ``detail`` has the cores we may use and what computes bfloat16, if anything does."""
    detail = {"cores": usable_cores(), "bfloat16": bfloat16_by() or "emulated"}
    return Probe(True, devices=1, memory=read_memory().total, detail=detail)


def usable_cores(groups: Path = Path("/sys/fs/cgroup")) -> int:
    """How many cores this process may keep busy: its affinity, or less where the container has a quota."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _quota(groups / "cpu.max")
    return max(1, min(allowed, quota)) if quota else allowed


def _quota(file: Path) -> int:
    """Whole cores out of a cgroup's ``cpu.max`` ("200000 100000" is two); 0 where there is no limit."""
    if not file.is_file():
        return 0
    limit, _, period = file.read_text(encoding="ascii").partition(" ")
    return 0 if limit == "max" else -(-int(limit) // int(period))
