"""Whether the device of ``emulated_npu`` can be emulated here. No torch."""

from __future__ import annotations

from tunesmith.contracts import Probe
from tunesmith.testing.emulator import why_not


def probe() -> Probe:
    return Probe(not why_not(), why_not(), devices=0 if why_not() else 1, memory=2**31, detail={"emulated": True})
