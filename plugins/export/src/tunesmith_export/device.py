"""The processor, for exports that do not use the run's device."""

from __future__ import annotations

import os
import resource

import torch
from tunesmith.contracts import Backend, Memory
from tunesmith.plan import Plan

KIB = 1024


class Processor(Backend):
    """Holds weights in any number format; merging and checking need no speed."""

    def __init__(self, plan: Plan) -> None:
        pass

    def device(self, local_rank: int = 0) -> torch.device:
        """Main memory."""
        return torch.device("cpu")

    def dtype(self, wanted: str) -> torch.dtype:
        """Any format that weights can be saved in."""
        formats = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
        return formats.get(wanted, torch.float32)

    def seed(self, seed: int) -> None:
        """Seed torch's numbers."""
        torch.manual_seed(seed)

    def memory(self, local_rank: int = 0) -> Memory:
        """What this process has used at most, and what the machine has."""
        page = os.sysconf("SC_PAGE_SIZE")
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * KIB
        return Memory(peak, peak, os.sysconf("SC_AVPHYS_PAGES") * page, os.sysconf("SC_PHYS_PAGES") * page)
