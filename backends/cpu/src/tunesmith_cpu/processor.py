"""What the processor can do, by its own flags. Imported while planning, so it imports nothing heavy."""

from __future__ import annotations

from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")
#: Processor flags that mean bfloat16 arithmetic in hardware, the fastest first: x86 tiles, x86 vectors, Arm.
BFLOAT16 = ("amx_bf16", "avx512_bf16", "sve_bf16", "bf16")


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
