"""What is here and what is not for experts on the processor, line by line; without torch."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec

from tunesmith.findings import Finding
from tunesmith.sizes import size_text
from tunesmith.stacks import place

import tunesmith_ktransformers.processor as processor

STACK = "ktransformers"


def findings() -> Iterator[Finding]:
    """Processor, cores, memory, and the package."""
    yield _processor()
    nodes, cores = processor.numa_nodes(), processor.cores()
    yield Finding("ok", f"{cores} cores in {nodes} NUMA node{'s' if nodes > 1 else ''}; experts are cut into {nodes}")
    free = processor.free_memory()
    yield Finding("ok" if free else "warn", f"{size_text(free)} of memory is free" if free else "free memory cannot be known")
    yield _package()


def _processor() -> Finding:
    flags = processor.read_flags()
    build = processor.best_build(flags)
    if build in processor.TRAINING_BUILDS:
        return Finding("ok", f"the processor runs kt-kernel's build {build}")
    wanted = processor.BUILDS[processor.TRAINING_BUILDS[-1]]
    lacking = " ".join(one for one in wanted if one.replace("_", "") not in flags)
    what = f"kt-kernel's experts need AMX, or AVX512 with bfloat16, VNNI and VBMI; this processor lacks {lacking}"
    return Finding("fail", what, "Use a processor that has them, such as Xeon of the fourth generation or EPYC 9004.")


def _package() -> Finding:
    if find_spec("kt_kernel") is not None:
        where = place.current()
        return Finding("ok", f"kt-kernel is here, in the stack {where}" if where else "kt-kernel is here")
    if place.made(STACK) is not None:
        return Finding("ok", f"kt-kernel is in the stack {STACK}, where runs go by themselves")
    return Finding("warn", f"the stack {STACK} with kt-kernel has not been made", f"tunesmith stack create {STACK}")
