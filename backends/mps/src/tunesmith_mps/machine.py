"""Whether this is a machine with Metal that torch can use, and what it can do. No torch."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.util import find_spec

from tunesmith.contracts import Finding, Probe

#: The first macOS that torch's Metal code runs on, and the first with bfloat16.
OLDEST, BFLOAT16 = (14, 0), (14, 0)
GIBIBYTE = 2**30


@dataclass(frozen=True)
class Mac:
    """What is known of a machine: its system (``darwin``), processor (``arm64``), version of macOS, memory in bytes."""

    system: str
    processor: str
    version: tuple[int, int] = (0, 0)
    memory: int = 0
    torch: bool = True

    @property
    def bfloat16(self) -> bool:
        """Whether its Metal has bfloat16."""
        return self.version >= BFLOAT16


def look() -> Mac:
    """At this machine."""
    numbers = [int(part) for part in platform.mac_ver()[0].split(".")[:2] if part.isdigit()]
    version = (numbers[0], numbers[1] if len(numbers) > 1 else 0) if numbers else (0, 0)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else 0
    return Mac(sys.platform, platform.machine(), version, memory, find_spec("torch") is not None)


def why_not(mac: Mac) -> tuple[str, str]:
    """Why there is no device, and what mends it; empty where there is one."""
    if mac.system != "darwin":
        return f"Metal is Apple's, and this is {mac.system}", "Use another backend."
    if mac.processor != "arm64":
        return f"torch's Metal code is for Apple silicon, and this processor is {mac.processor}", "Use backend: cpu."
    if mac.version < OLDEST:
        has, wants = (".".join(map(str, version)) for version in (mac.version, OLDEST))
        return f"this is macOS {has}, and torch's Metal code wants {wants}", "Update macOS."
    if not mac.torch:
        return "torch is not installed", "pip install torch"
    return "", ""


def probe() -> Probe:
    """One device, or the reason why there is none."""
    mac = look()
    reason, _ = why_not(mac)
    return Probe(not reason, reason, 0 if reason else 1, 0 if reason else mac.memory, asdict(mac))


def preflight() -> Iterator[Finding]:
    """Everything about this machine, line by line."""
    return findings(look())


def findings(mac: Mac) -> Iterator[Finding]:
    """The system, number formats, memory, and what the device lacks."""
    reason, fix = why_not(mac)
    if reason:
        yield Finding("fail", reason, fix)
        return
    yield Finding("ok", f"Apple silicon, macOS {mac.version[0]}.{mac.version[1]}: bfloat16, float16, float32; no float64")
    yield Finding("ok", f"{mac.memory / GIBIBYTE:.0f} GiB of memory, shared with the processor")
    if os.environ.get("PYTORCH_MPS_HIGH_WATERMARK_RATIO") == "0.0":
        fix = "Unset it: without a limit the machine swaps and may stop answering."
        yield Finding("warn", "PYTORCH_MPS_HIGH_WATERMARK_RATIO=0.0 takes away the limit of memory", fix)
