"""The processor as the device of a run."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import torch
from tunesmith import TunesmithError
from tunesmith.contracts import Backend, Memory

from tunesmith_cpu.memory import give_back, read_memory
from tunesmith_cpu.probe import usable_cores

if TYPE_CHECKING:
    from tunesmith.plan import Plan

DTYPES = {"auto": torch.float32, "float32": torch.float32, "bfloat16": torch.bfloat16}
#: The words in which torch's allocator says that there is no more.
OUT_OF_MEMORY = ("can't allocate memory", "not enough memory")


class CpuBackend(Backend):
    """Computes on the processor, with the cores this process may use shared out among the processes of the machine."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        if "OMP_NUM_THREADS" not in os.environ:
            torch.set_num_threads(threads())

    def device(self, local_rank: int = 0) -> torch.device:
        """The one processor, whatever the rank."""
        return torch.device("cpu")

    def dtype(self, wanted: str) -> torch.dtype:
        """float32 by default; bfloat16 works everywhere and is slow on processors that emulate it.

        :raises TunesmithError: float16, in which training on a processor is not to be relied on.
        """
        if wanted not in DTYPES:
            raise TunesmithError(f"The backend cpu does not compute in {wanted}.", "Write bf16: true, or leave float32.")
        return DTYPES[wanted]

    def arguments(self) -> dict[str, Any]:
        """Keep accelerate from looking for another device."""
        return {"use_cpu": True}

    def seed(self, seed: int) -> None:
        """Seed torch's own generator."""
        torch.random.default_generator.manual_seed(seed)

    def rng_state(self) -> dict[str, torch.Tensor]:
        """The state of torch's own generator."""
        return {"cpu": torch.get_rng_state()}

    def set_rng_state(self, state: Mapping[str, torch.Tensor]) -> None:
        """Restore torch's own generator."""
        torch.set_rng_state(state["cpu"])

    def memory(self, local_rank: int = 0) -> Memory:
        """Resident memory of this process, and what the machine or container has."""
        return read_memory()

    def empty_cache(self) -> None:
        """Give freed memory back to the system, where the C library keeps it for later (glibc does)."""
        give_back()

    def synchronize(self) -> None:
        """Nothing is queued."""

    def autocast(self, dtype: torch.dtype) -> AbstractContextManager[Any]:
        """Matrix products in bfloat16; nothing to do in float32."""
        return nullcontext() if dtype is torch.float32 else torch.autocast("cpu", dtype=dtype)

    def advice(self, error: BaseException) -> str:
        """What to do when the memory of the machine runs out."""
        text = str(error).lower()
        if not isinstance(error, MemoryError) and not any(words in text for words in OUT_OF_MEMORY):
            return ""
        return remedies(self._plan, self.memory())


def threads() -> int:
    """This process's share of the cores, at least one."""
    return max(1, usable_cores() // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))


def remedies(plan: Plan, memory: Memory) -> str:
    """The best three ways out of too little memory, the cheapest first, in the numbers of this run."""
    rows, steps, length = (
        _number(plan, key) for key in ("per_device_train_batch_size", "gradient_accumulation_steps", "cutoff_len")
    )
    ways = (
        f"per_device_train_batch_size: {rows // 2} with gradient_accumulation_steps: {max(1, steps) * 2}, for the same result"
        if rows > 1
        else "finetuning_type: lora, so that fewer weights learn",
        f"cutoff_len: {length // 2}" if length > 1 else "a smaller cutoff_len",
        "bf16: true, which halves the activations",
    )
    state = f"{memory.used / 2**30:.1f} GiB in use, {memory.free / 2**30:.1f} of {memory.total / 2**30:.1f} GiB free"
    listed = "\n".join(f"  {number}. {way}" for number, way in enumerate(ways, 1))
    return f"The memory of this machine ran out ({state}). In this order, try:\n{listed}"


def _number(plan: Plan, key: str) -> int:
    """The value of a key that may not be part of this plan; 0 where it is not."""
    return int(plan[key] or 0) if key in plan.settings else 0
