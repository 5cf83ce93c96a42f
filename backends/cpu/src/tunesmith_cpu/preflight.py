"""What is worth knowing about this processor before a run, line by line. No torch."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from tunesmith.contracts import Finding

from tunesmith_cpu.memory import read_memory
from tunesmith_cpu.probe import usable_cores
from tunesmith_cpu.processor import bfloat16_by

SYSTEM = Path("/sys")
GIBIBYTE = 2**30


def preflight() -> Iterator[Finding]:
    """Cores, number formats, memory, memory nodes and pages."""
    yield from cores(os.environ, usable_cores())
    fast = bfloat16_by()
    yield (
        Finding("ok", f"bfloat16 is computed by the processor ({fast})")
        if fast
        else Finding("warn", "bfloat16 is emulated, which is right and slow", "Leave bf16 out.")
    )
    memory = read_memory()
    yield Finding("ok", f"{memory.free / GIBIBYTE:.1f} of {memory.total / GIBIBYTE:.1f} GiB of memory free")
    yield from nodes(SYSTEM)
    yield from pages(SYSTEM)


def cores(environ: Mapping[str, str], usable: int) -> Iterator[Finding]:
    """How many cores a run will use, and whether a variable keeps it from the others."""
    asked = environ.get("OMP_NUM_THREADS", "")
    threads = int(asked) if asked.isdigit() and int(asked) else usable
    if threads < usable:
        fix = f"Unset it to use all {usable}, or leave it where other work shares the machine."
        yield Finding("warn", f"OMP_NUM_THREADS={threads} leaves {usable - threads} of {usable} cores idle", fix)
    elif threads > usable:
        yield Finding("warn", f"OMP_NUM_THREADS={threads}, and {usable} cores may be used", "Unset it.")
    else:
        yield Finding("ok", f"{usable} cores")


def nodes(system: Path) -> Iterator[Finding]:
    """Memory of another socket is slower: one process should stay on one node."""
    found = sorted((system / "devices" / "system" / "node").glob("node[0-9]*"))
    if len(found) > 1:
        fix = (
            "Start one process on each (nproc_per_node) and keep each on its own, or one on one of them: "
            "numactl --cpunodebind=0 --membind=0 tunesmith train …"
        )
        yield Finding("warn", f"{len(found)} NUMA nodes: threads that reach across wait for memory", fix)
    elif found:
        yield Finding("ok", "one NUMA node")


def pages(system: Path) -> Iterator[Finding]:
    """Weights in large pages cost fewer look-ups of addresses."""
    file = system / "kernel" / "mm" / "transparent_hugepage" / "enabled"
    chosen = re.search(r"\[(\w+)\]", file.read_text(encoding="ascii")) if file.is_file() else None
    if chosen is None:
        return
    if chosen[1] == "never":
        fix = f"As root: echo madvise > {file}, then THP_MEM_ALLOC_ENABLE=1 lets torch ask for them."
        yield Finding("warn", "transparent huge pages are off", fix)
    elif chosen[1] == "madvise" and os.environ.get("THP_MEM_ALLOC_ENABLE") != "1":
        yield Finding("ok", "transparent huge pages are given to who asks; THP_MEM_ALLOC_ENABLE=1 lets torch ask")
    else:
        yield Finding("ok", f"transparent huge pages: {chosen[1]}")
