"""The processor as the device of a run."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import torch
from tunesmith import TunesmithError
from tunesmith.contracts import Backend, Memory
from tunesmith.memory_advice import half_precision, memory_full, more_room, shorter_rows, smaller_batch, value_of

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
        return memory_full(self._plan, self.memory(), _ways(self._plan), "this machine")


def threads() -> int:
    """This process's share of the cores, at least one."""
    return max(1, usable_cores() // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))


def _ways(plan: Plan) -> Iterator[str]:
    """The best ways out of too little memory, the cheapest first, in the numbers of this run."""
    yield from smaller_batch(plan)
    if not value_of(plan, "per_device_train_batch_size", 1) > 1:
        yield "finetuning_type: lora, so that fewer weights learn"
    yield from shorter_rows(plan)
    yield from half_precision(plan)
    yield from more_room()
