"""What processor this is, without torch."""

from __future__ import annotations

import os
from pathlib import Path

from tunesmith.contracts import Probe

from tunesmith_cpu.memory import read_memory

CPUINFO = Path("/proc/cpuinfo")
#: Processor flags that mean bfloat16 arithmetic in hardware, the fastest first: x86 tiles, x86 vectors, Arm.
BFLOAT16 = ("amx_bf16", "avx512_bf16", "sve_bf16", "bf16")


def probe() -> Probe:
    """The processor is always here. ``detail`` has the cores we may use and what computes bfloat16, if anything does."""
    detail = {"cores": usable_cores(), "bfloat16": bfloat16_by() or "emulated"}
    return Probe(True, devices=1, memory=read_memory().total, detail=detail)


def bfloat16_by() -> str:
    """The processor's flag for bfloat16 arithmetic in hardware; empty where torch has to emulate it."""
    flags = processor_flags(CPUINFO)
    return next((flag for flag in BFLOAT16 if flag in flags), "")


def processor_flags(cpuinfo: Path) -> frozenset[str]:
    """The flags of the first processor in a ``/proc/cpuinfo``; empty where there is no such file (it is Linux's)."""
    if not cpuinfo.is_file():
        return frozenset()
    for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
        name, _, value = line.partition(":")
        if name.strip() in ("flags", "Features"):
            return frozenset(value.split())
    return frozenset()


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
