"""NVIDIA and AMD devices as the device of a run. torch calls both ``cuda``; importing this module touches no device."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import torch
from tunesmith import TunesmithError
from tunesmith.contracts import Backend, Memory

from tunesmith_cuda.preflight import AMPERE
from tunesmith_cuda.remedies import remedies

if TYPE_CHECKING:
    from tunesmith.plan import Plan

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
OUT_OF_MEMORY = ("cuda out of memory", "hip out of memory", "cublas_status_alloc_failed", "cuda error: out of memory")


class CudaBackend(Backend):
    """Computes on the device of each process's local rank."""

    def __init__(self, plan: Plan) -> None:
        """Look at the device once.

        :raises TunesmithError: torch sees none or has no code for it, or ``tf32: true`` asks for what it cannot do.
        """
        self._plan = plan
        if not torch.cuda.is_available():
            raise TunesmithError(
                "torch sees no CUDA or ROCm device.", "tunesmith doctor says why; backend: auto takes one that is here."
            )
        if not _has_code():
            raise TunesmithError(*_no_code())
        if "tf32" in plan.settings and plan["tf32"] and not torch.cuda.is_tf32_supported():
            raise TunesmithError(f"{_name()} has no TF32.", "Leave tf32 out.")

    def device(self, local_rank: int = 0) -> torch.device:
        """The device with the number of the local rank.

        :raises TunesmithError: there are fewer devices than processes.
        """
        if local_rank >= torch.cuda.device_count():
            message = f"There is no device for local rank {local_rank}: torch sees {torch.cuda.device_count()}."
            raise TunesmithError(message, "Start fewer processes, or look at CUDA_VISIBLE_DEVICES.")
        return torch.device("cuda", local_rank)

    def dtype(self, wanted: str) -> torch.dtype:
        """``auto`` is bfloat16 where the device has it and float16 where it has not.

        :raises TunesmithError: the device would only emulate bfloat16, or nobody knows the dtype.
        """
        if wanted == "auto":
            return torch.bfloat16 if _has_bfloat16() else torch.float16
        if wanted not in DTYPES:
            raise TunesmithError(f"The backend cuda does not compute in {wanted}.", f"It can do {', '.join(DTYPES)}.")
        if wanted == "bfloat16" and not _has_bfloat16():
            raise TunesmithError(f"{_name()} has no bfloat16.", "Write fp16: true instead of bf16: true.")
        return DTYPES[wanted]

    def arguments(self) -> dict[str, Any]:
        """Keep a stray ``use_cpu`` from moving the run to the processor."""
        return {"use_cpu": False}

    def seed(self, seed: int) -> None:
        """Seed the generators of all devices."""
        torch.cuda.manual_seed_all(seed)

    def rng_state(self) -> dict[str, torch.Tensor]:
        """The state of the current device's generator."""
        return {"cuda": torch.cuda.get_rng_state()}

    def set_rng_state(self, state: Mapping[str, torch.Tensor]) -> None:
        """Restore the current device's generator."""
        torch.cuda.set_rng_state(state["cuda"])

    def memory(self, local_rank: int = 0) -> Memory:
        """What torch holds on the device now and held at most, and what the driver says is free and in all."""
        device = self.device(local_rank)
        free, total = torch.cuda.mem_get_info(device)
        return Memory(torch.cuda.memory_allocated(device), torch.cuda.max_memory_allocated(device), free, total)

    def empty_cache(self) -> None:
        """Give blocks that torch keeps for later back to the driver."""
        torch.cuda.empty_cache()

    def synchronize(self) -> None:
        """Wait for the current device."""
        torch.cuda.synchronize()

    def new_event(self) -> Any:
        """One that torch has for this device."""
        return torch.cuda.Event(enable_timing=True)

    def autocast(self, dtype: torch.dtype) -> AbstractContextManager[Any]:
        """Matrix products in ``dtype``; nothing to do in float32."""
        return nullcontext() if dtype is torch.float32 else torch.autocast("cuda", dtype=dtype)

    def advice(self, error: BaseException) -> str:
        """What to do when memory is full, or when torch has no code for the device."""
        text = str(error).lower()
        if isinstance(error, torch.cuda.OutOfMemoryError) or any(words in text for words in OUT_OF_MEMORY):
            return remedies(self._plan, self.memory(torch.cuda.current_device()))
        if "no kernel image is available" in text:
            return " ".join(_no_code())
        return ""


def _has_bfloat16() -> bool:
    return torch.version.hip is not None or torch.cuda.get_device_capability() >= AMPERE


def _has_code() -> bool:
    """Whether this torch was compiled for the device: for its generation, or in a form (PTX) that the driver compiles on."""
    known = torch.cuda.get_arch_list()
    if torch.version.hip is not None or not known:
        return True  # a ROCm build names whole architectures, and says by itself which one it lacks
    here = torch.cuda.get_device_capability()
    found = [(kind, (int(number[:-1]), int(number[-1]))) for kind, number in (_split(name) for name in known)]
    return any(able <= here and (kind == "compute" or able[0] == here[0]) for kind, able in found)


def _split(architecture: str) -> tuple[str, str]:
    """``"sm_90a"`` → ``("sm", "90")``."""
    kind, _, number = architecture.partition("_")
    return kind, "".join(filter(str.isdigit, number))


def _no_code() -> tuple[str, str]:
    known = ", ".join(torch.cuda.get_arch_list())
    return f"This torch has no code for {_name()}, only for {known}.", "Install a build for it: pytorch.org/get-started"


def _name() -> str:
    if torch.version.hip is not None:
        return f"{torch.cuda.get_device_name()} ({torch.cuda.get_device_properties().gcnArchName})"
    major, minor = torch.cuda.get_device_capability()
    return f"{torch.cuda.get_device_name()} (compute capability {major}.{minor})"
