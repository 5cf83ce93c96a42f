"""Graphics processors of Intel as the device of a run. Importing this module touches no device."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import torch
from tunesmith import TunesmithError
from tunesmith.contracts import Backend, Memory
from tunesmith.memory_advice import half_precision, memory_full, more_room, recompute, shorter_rows, smaller_batch

if TYPE_CHECKING:
    from tunesmith.plan import Plan

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
OUT_OF_MEMORY = ("xpu out of memory", "ur_result_error_out_of_device_memory", "ur_result_error_out_of_resources")


class XpuBackend(Backend):
    """Computes on the device of each process's local rank."""

    def __init__(self, plan: Plan) -> None:
        """Look at the devices once.

        :raises TunesmithError: torch sees none.
        """
        self._plan = plan
        if not torch.xpu.is_available():
            raise TunesmithError("torch sees no Intel device.", "tunesmith doctor --backend xpu says why.")

    def device(self, local_rank: int = 0) -> torch.device:
        """The device with the number of the local rank.

        :raises TunesmithError: there are fewer devices than processes.
        """
        if local_rank >= torch.xpu.device_count():
            message = f"There is no device for local rank {local_rank}: torch sees {torch.xpu.device_count()}."
            raise TunesmithError(message, "Start fewer processes, or look at ZE_AFFINITY_MASK.")
        return torch.device("xpu", local_rank)

    def dtype(self, wanted: str) -> torch.dtype:
        """``auto`` is bfloat16 where the device has it and float16 where it has not.

        :raises TunesmithError: the device has no bfloat16, or nobody knows the dtype.
        """
        has_bfloat16 = torch.xpu.is_bf16_supported()
        if wanted == "auto":
            return torch.bfloat16 if has_bfloat16 else torch.float16
        if wanted not in DTYPES:
            raise TunesmithError(f"The backend xpu does not compute in {wanted}.", f"It can do {', '.join(DTYPES)}.")
        if wanted == "bfloat16" and not has_bfloat16:
            raise TunesmithError("This Intel device has no bfloat16.", "Write fp16: true instead of bf16: true.")
        return DTYPES[wanted]

    def arguments(self) -> dict[str, Any]:
        """Keep a stray ``use_cpu`` from moving the run to the processor."""
        return {"use_cpu": False}

    def seed(self, seed: int) -> None:
        """Seed the generators of all devices."""
        torch.xpu.manual_seed_all(seed)

    def rng_state(self) -> dict[str, torch.Tensor]:
        """The state of the current device's generator."""
        return {"xpu": torch.xpu.get_rng_state()}

    def set_rng_state(self, state: Mapping[str, torch.Tensor]) -> None:
        """Restore the current device's generator."""
        torch.xpu.set_rng_state(state["xpu"])

    def memory(self, local_rank: int = 0) -> Memory:
        """What torch holds on the device now and held at most, and what the driver says is free and in all."""
        device = self.device(local_rank)
        free, total = torch.xpu.mem_get_info(device)
        return Memory(torch.xpu.memory_allocated(device), torch.xpu.max_memory_allocated(device), free, total)

    def empty_cache(self) -> None:
        """Give blocks that torch keeps for later back to the driver."""
        torch.xpu.empty_cache()

    def synchronize(self) -> None:
        """Wait for the current device."""
        torch.xpu.synchronize()

    def new_event(self) -> Any:
        """One that torch has for this device."""
        return torch.xpu.Event(enable_timing=True)

    def autocast(self, dtype: torch.dtype) -> AbstractContextManager[Any]:
        """Matrix products in ``dtype``; nothing to do in float32."""
        return nullcontext() if dtype is torch.float32 else torch.autocast("xpu", dtype=dtype)

    def advice(self, error: BaseException) -> str:
        """What to do when memory is full, or when a number format is emulated nowhere."""
        text = str(error).lower()
        if isinstance(error, torch.OutOfMemoryError) or any(words in text for words in OUT_OF_MEMORY):
            return memory_full(self._plan, self.memory(torch.xpu.current_device()), _ways(self._plan))
        if "fp64" in text and "aspect" in text:
            return "This device has no float64: whatever asked for it has to do with float32."
        return ""


def _ways(plan: Plan) -> Iterator[str]:
    yield from smaller_batch(plan)
    yield from recompute(plan)
    yield from half_precision(plan)
    yield from shorter_rows(plan)
    yield from more_room()
