"""What this processor can do, and what memory is free: read from the kernel's files, without torch."""

from __future__ import annotations

import os
import platform
from pathlib import Path

#: The builds in kt-kernel's wheel, the best first, and the instruction sets that each needs (kt_kernel/_cpu_detect.py).
BUILDS = {
    "amx": ("amx_tile", "amx_int8", "amx_bf16", "avx512f", "avx512bw", "avx512_vnni", "avx512_vbmi", "avx512_bf16"),
    "avx512_bf16": ("avx512f", "avx512bw", "avx512_vnni", "avx512_vbmi", "avx512_bf16"),
    "avx512_vbmi": ("avx512f", "avx512bw", "avx512_vnni", "avx512_vbmi"),
    "avx512_vnni": ("avx512f", "avx512bw", "avx512_vnni"),
    "avx512_base": ("avx512f", "avx512bw"),
    "avx2": ("avx2",),
}
#: Those whose experts have a backward pass. The others can only answer, and by classes that read files of their own.
TRAINING_BUILDS = ("amx", "avx512_bf16")
#: The variable with which kt-kernel's user forces one of them.
FORCED = "KT_KERNEL_CPU_VARIANT"


def instruction_sets(cpuinfo: str) -> frozenset[str]:
    """The flags that ``/proc/cpuinfo`` lists, with and without underscores."""
    line = next((line for line in cpuinfo.lower().splitlines() if line.startswith("flags")), "")
    flags = line.partition(":")[2].split()
    return frozenset(flags) | {flag.replace("_", "") for flag in flags}


def best_build(flags: frozenset[str]) -> str | None:
    """The best build that a processor with ``flags`` can run."""
    fitting = (name for name, wanted in BUILDS.items() if all(one.replace("_", "") in flags for one in wanted))
    return next(fitting, None)


def read_flags(path: Path = Path("/proc/cpuinfo")) -> frozenset[str]:
    """The flags of this processor; none where it is of another kind."""
    if platform.machine() not in ("x86_64", "AMD64") or not path.is_file():
        return frozenset()
    return instruction_sets(path.read_text(encoding="utf-8", errors="replace"))


def numa_nodes(folder: Path = Path("/sys/devices/system/node")) -> int:
    """How many NUMA nodes there are that this process may use processors of."""
    mine = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))
    lists = [file.read_text(encoding="ascii") for file in sorted(folder.glob("node[0-9]*/cpulist"))]
    return max(1, sum(bool(_numbers(text) & mine) for text in lists))


def cores(folder: Path = Path("/sys/devices/system/cpu")) -> int:
    """How many physical cores this process may use: threads of one core share its vector units."""
    mine = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))
    siblings = set()
    for cpu in mine:
        file = folder / f"cpu{cpu}" / "topology" / "thread_siblings_list"
        siblings.add(frozenset(_numbers(file.read_text(encoding="ascii"))) if file.is_file() else frozenset({cpu}))
    return max(1, len(siblings))


def _numbers(text: str) -> set[int]:
    """``0-3,8`` as numbers."""
    found: set[int] = set()
    for part in filter(None, text.strip().split(",")):
        first, _, last = part.partition("-")
        found |= set(range(int(first), int(last or first) + 1))
    return found


def free_memory(proc: Path = Path("/proc/meminfo"), cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """Bytes that a process can still get: what the system says is available, or what its control group leaves; 0 if unknown."""
    if not proc.is_file():
        return 0
    fields = dict(line.split(":", 1) for line in proc.read_text(encoding="ascii").splitlines() if ":" in line)
    free = int(fields["MemAvailable"].split()[0]) * 1024
    limit, used = cgroup / "memory.max", cgroup / "memory.current"
    if limit.is_file() and used.is_file() and (most := limit.read_text(encoding="ascii").strip()).isdigit():
        free = min(free, max(0, int(most) - int(used.read_text(encoding="ascii"))))
    return free
