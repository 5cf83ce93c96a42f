"""The graphics processor of Apple silicon as the device of a run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import torch
from tunesmith import TunesmithError
from tunesmith.contracts import Backend, Memory
from tunesmith.memory_advice import half_precision, memory_full, recompute, shorter_rows, smaller_batch

from tunesmith_mps.machine import look

if TYPE_CHECKING:
    from tunesmith.plan import Plan

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


class MpsBackend(Backend):
    """Computes on the one device there is, in memory that it shares with the processor."""

    def __init__(self, plan: Plan) -> None:
        """Look at the device once.

        :raises TunesmithError: torch cannot use it.
        """
        self._plan = plan
        self._peak = 0
        if not torch.backends.mps.is_available():
            built = "was built without Metal" if not torch.backends.mps.is_built() else "finds no Metal device"
            raise TunesmithError(f"torch {torch.__version__} {built}.", "tunesmith doctor --backend mps says why.")

    def device(self, local_rank: int = 0) -> torch.device:
        """The one device.

        :raises TunesmithError: there are several processes.
        """
        if local_rank:
            raise TunesmithError(f"There is one Metal device, and none for local rank {local_rank}.", "Start one process.")
        return torch.device("mps")

    def dtype(self, wanted: str) -> torch.dtype:
        """``auto`` is bfloat16, or float16 on a macOS that has none.

        :raises TunesmithError: this macOS has no bfloat16, or nobody knows the dtype (Metal has no float64).
        """
        if wanted == "auto":
            return torch.bfloat16 if look().bfloat16 else torch.float16
        if wanted not in DTYPES:
            raise TunesmithError(f"The backend mps does not compute in {wanted}.", f"It can do {', '.join(DTYPES)}.")
        if wanted == "bfloat16" and not look().bfloat16:
            raise TunesmithError("This macOS has no bfloat16.", "Leave float32, or update macOS.")
        return DTYPES[wanted]

    def arguments(self) -> dict[str, Any]:
        """Memory is shared, so that there is nothing to pin."""
        return {"use_cpu": False, "dataloader_pin_memory": False}

    def seed(self, seed: int) -> None:
        """Seed the device's generator."""
        torch.mps.manual_seed(seed)

    def rng_state(self) -> dict[str, torch.Tensor]:
        """The state of the device's generator."""
        return {"mps": torch.mps.get_rng_state()}

    def set_rng_state(self, state: Mapping[str, torch.Tensor]) -> None:
        """Restore the device's generator."""
        torch.mps.set_rng_state(state["mps"])

    def memory(self, local_rank: int = 0) -> Memory:
        """What tensors hold now, and what Metal recommends to use in all. Metal keeps no peak: it is the most seen here."""
        used, total = torch.mps.current_allocated_memory(), torch.mps.recommended_max_memory()
        self._peak = max(self._peak, used)
        return Memory(used, self._peak, max(0, total - torch.mps.driver_allocated_memory()), total)

    def empty_cache(self) -> None:
        """Give blocks that torch keeps for later back to the system."""
        torch.mps.empty_cache()

    def synchronize(self) -> None:
        """Wait for the device."""
        torch.mps.synchronize()

    def new_event(self) -> Any:
        """One that torch has for this device."""
        return torch.mps.event.Event(enable_timing=True)

    def autocast(self, dtype: torch.dtype) -> AbstractContextManager[Any]:
        """Matrix products in ``dtype``; nothing to do in float32."""
        return nullcontext() if dtype is torch.float32 else torch.autocast("mps", dtype=dtype)

    def advice(self, error: BaseException) -> str:
        """What to do when memory is full, or when Metal lacks an operator or a number format."""
        text = str(error).lower()
        if "mps backend out of memory" in text:
            return memory_full(self._plan, self.memory(), _ways(self._plan), "this machine")
        if "not currently implemented for the mps device" in text:
            return "Metal lacks this operator. PYTORCH_ENABLE_MPS_FALLBACK=1 computes it on the processor, slowly."
        if "float64" in text and "mps" in text:
            return "Metal has no float64: whatever asked for it has to do with float32."
        return ""


def _ways(plan: Plan) -> Iterator[str]:
    yield from smaller_batch(plan)
    yield from recompute(plan)
    yield from half_precision(plan)
    yield from shorter_rows(plan)
    yield "close other programs: memory is shared with them"
    yield "a smaller model"
