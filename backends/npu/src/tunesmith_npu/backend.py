"""Ascend devices as the device of a run. torch-npu gives them to torch as ``npu``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from importlib import import_module
from typing import TYPE_CHECKING, Any

import torch
from tunesmith import TunesmithError
from tunesmith.contracts import Backend, Memory
from tunesmith.memory_advice import half_precision, memory_full, more_room, recompute, shorter_rows, smaller_batch

if TYPE_CHECKING:
    from tunesmith.plan import Plan

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
OUT_OF_MEMORY = ("npu out of memory", "207018", "error code: el0004", "failed to allocate memory")
#: Words of errors that people meet, and what they mean.
KNOWN_ERRORS = {
    "libhccl.so": "CANN is not set up in this shell: source its set_env.sh.",
    "libascend_hal.so": "The driver's libraries are not here; in a container mount /usr/local/Ascend/driver.",
    "err02200": "A process waited too long for another one (HCCL): look at what the others said first.",
    "hccl_connect_timeout": "Processes did not find each other: the firewall, or HCCL_IF_IP where there are several networks.",
    "507035": "An operator failed on the device: try npu_jit_compile: true, and npu_fused_operators: false.",
}


class NpuBackend(Backend):
    """Computes on the device of each process's local rank."""

    def __init__(self, plan: Plan) -> None:
        """Import torch-npu, look at the devices once, and say how operators are made.

        :raises TunesmithError: torch-npu cannot be imported, or finds no device.
        """
        self._plan = plan
        self._npu = runtime()
        if not self._npu.is_available():
            raise TunesmithError("torch-npu sees no device.", "tunesmith doctor --backend npu says why.")
        if "npu_jit_compile" in plan.settings:
            self._npu.set_compile_mode(jit_compile=bool(plan["npu_jit_compile"]))

    def device(self, local_rank: int = 0) -> torch.device:
        """The device with the number of the local rank.

        :raises TunesmithError: there are fewer devices than processes.
        """
        if local_rank >= self._npu.device_count():
            message = f"There is no device for local rank {local_rank}: torch-npu sees {self._npu.device_count()}."
            raise TunesmithError(message, "Start fewer processes, or look at ASCEND_RT_VISIBLE_DEVICES.")
        return torch.device("npu", local_rank)

    def dtype(self, wanted: str) -> torch.dtype:
        """``auto`` is bfloat16 where the device has it and float16 where it has not (Atlas 800 with 910 and 910 Pro).

        :raises TunesmithError: the device has no bfloat16, or nobody knows the dtype.
        """
        has_bfloat16 = self._npu.is_bf16_supported()
        if wanted == "auto":
            return torch.bfloat16 if has_bfloat16 else torch.float16
        if wanted not in DTYPES:
            raise TunesmithError(f"The backend npu does not compute in {wanted}.", f"It can do {', '.join(DTYPES)}.")
        if wanted == "bfloat16" and not has_bfloat16:
            raise TunesmithError("This Ascend device has no bfloat16.", "Write fp16: true instead of bf16: true.")
        return DTYPES[wanted]

    def arguments(self) -> dict[str, Any]:
        """Keep a stray ``use_cpu`` from moving the run to the processor."""
        return {"use_cpu": False}

    def seed(self, seed: int) -> None:
        """Seed the generators of all devices."""
        self._npu.manual_seed_all(seed)

    def rng_state(self) -> dict[str, torch.Tensor]:
        """The state of the current device's generator."""
        return {"npu": self._npu.get_rng_state()}

    def set_rng_state(self, state: Mapping[str, torch.Tensor]) -> None:
        """Restore the current device's generator."""
        self._npu.set_rng_state(state["npu"])

    def memory(self, local_rank: int = 0) -> Memory:
        """What torch holds on the device now and held at most, and what the driver says is free and in all."""
        device = self.device(local_rank)
        free, total = self._npu.mem_get_info(device)
        return Memory(self._npu.memory_allocated(device), self._npu.max_memory_allocated(device), free, total)

    def empty_cache(self) -> None:
        """Give blocks that torch keeps for later back to the driver."""
        self._npu.empty_cache()

    def synchronize(self) -> None:
        """Wait for the current device."""
        self._npu.synchronize()

    def new_event(self) -> Any:
        """One that torch has for this device."""
        return self._npu.Event(enable_timing=True)

    def autocast(self, dtype: torch.dtype) -> AbstractContextManager[Any]:
        """Matrix products in ``dtype``; nothing to do in float32."""
        return nullcontext() if dtype is torch.float32 else torch.autocast("npu", dtype=dtype)

    def advice(self, error: BaseException) -> str:
        """What to do when memory is full, and about the errors of CANN that people meet."""
        text = str(error).lower()
        if isinstance(error, torch.OutOfMemoryError) or any(words in text for words in OUT_OF_MEMORY):
            return memory_full(self._plan, self.memory(self._npu.current_device()), _ways(self._plan))
        return next((advice for words, advice in KNOWN_ERRORS.items() if words in text), "")


def runtime() -> Any:
    """``torch.npu``, which importing torch-npu brings.

    :raises TunesmithError: it cannot be imported.
    """
    try:
        import_module("torch_npu")
    except ImportError as error:
        hint = "tunesmith doctor --backend npu says what is missing."
        raise TunesmithError(f"torch-npu cannot be imported: {error}", hint) from error
    if not hasattr(torch, "npu"):
        raise TunesmithError("torch-npu cannot run on this machine.", "tunesmith doctor --backend npu says why.")
    return torch.npu


def _ways(plan: Plan) -> Iterator[str]:
    yield from smaller_batch(plan)
    yield from recompute(plan)
    yield from half_precision(plan)
    if [chosen.name for chosen in plan.picked("tuners")] in (["full"], ["freeze"]):
        yield "finetuning_type: lora, so that far fewer weights learn"
    yield from shorter_rows(plan)
    yield from more_room()
