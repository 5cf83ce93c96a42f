"""A backend over torch's module for a type of device: what ``torch.get_device_module(kind)`` has for all of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, ClassVar

import torch

from tunesmith.contracts import Backend, Memory
from tunesmith.errors import TunesmithError
from tunesmith.memory_advice import half_precision, memory_full, more_room, recompute, shorter_rows, smaller_batch

if TYPE_CHECKING:
    from tunesmith.plan import Plan


class DeviceModuleBackend(Backend):
    """Computes on the device of each process's local rank. Subclasses state facts, and override what is otherwise there.

    ``kind``: torch's device type, which is the backend's name, too. ``maker``: what people call the devices. ``visible``: the
    variable that hides some of them. ``dtypes``: what they compute in. ``exhausted``: what errors say, in small letters, when
    memory is full. ``known_errors``: what others say, and what to do then.
    """

    kind: ClassVar[str]
    maker: ClassVar[str]
    visible: ClassVar[str]
    dtypes: ClassVar[tuple[str, ...]] = ("float32", "bfloat16", "float16")
    exhausted: ClassVar[tuple[str, ...]] = ()
    known_errors: ClassVar[Mapping[str, str]] = {}

    def __init__(self, plan: Plan) -> None:
        """Look at the devices once.

        :raises TunesmithError: torch sees none.
        """
        self.plan = plan
        self.module: Any = self.find_module()
        if not self.module.is_available():
            raise TunesmithError(f"torch sees no {self.maker} device.", f"tunesmith doctor --backend {self.kind} says why.")

    def find_module(self) -> Any:
        """torch's module for the devices."""
        return torch.get_device_module(self.kind)

    def has_bfloat16(self) -> bool:
        """Whether the current device computes in bfloat16 itself."""
        return bool(self.module.is_bf16_supported())

    def name(self) -> str:
        """What the current device is called in errors."""
        return f"This {self.maker} device"

    def ways(self) -> Iterator[str]:
        """What to try when memory is full, the best first."""
        yield from smaller_batch(self.plan)
        yield from recompute(self.plan)
        yield from half_precision(self.plan)
        yield from shorter_rows(self.plan)
        yield from more_room()

    # -- the contract --------------------------------------------------------------------------------------------------

    def device(self, local_rank: int = 0) -> torch.device:
        """The device with the number of the local rank.

        :raises TunesmithError: there are fewer devices than processes.
        """
        if local_rank >= self.module.device_count():
            message = f"There is no device for local rank {local_rank}: torch sees {self.module.device_count()}."
            raise TunesmithError(message, f"Start fewer processes, or look at {self.visible}.")
        return torch.device(self.kind, local_rank)

    def dtype(self, wanted: str) -> torch.dtype:
        """``auto`` is bfloat16 where the device has it and float16 where it has not.

        :raises TunesmithError: the device has no bfloat16, or nobody knows the dtype.
        """
        if wanted == "auto":
            return torch.bfloat16 if self.has_bfloat16() else torch.float16
        if wanted not in self.dtypes:
            raise TunesmithError(
                f"The backend {self.kind} does not compute in {wanted}.", f"It can do {', '.join(self.dtypes)}."
            )
        if wanted == "bfloat16" and not self.has_bfloat16():
            raise TunesmithError(f"{self.name()} has no bfloat16.", "Write fp16: true instead of bf16: true.")
        found: torch.dtype = getattr(torch, wanted)
        return found

    def arguments(self) -> dict[str, Any]:
        """Keep a stray ``use_cpu`` from moving the run to the processor."""
        return {"use_cpu": False}

    def seed(self, seed: int) -> None:
        """Seed the generators of all devices."""
        self.module.manual_seed_all(seed)

    def rng_state(self) -> dict[str, torch.Tensor]:
        """The state of the current device's generator."""
        return {self.kind: self.module.get_rng_state()}

    def set_rng_state(self, state: Mapping[str, torch.Tensor]) -> None:
        """Restore the current device's generator."""
        self.module.set_rng_state(state[self.kind])

    def memory(self, local_rank: int = 0) -> Memory:
        """What torch holds on the device now and held at most, and what the driver says is free and in all."""
        device = self.device(local_rank)
        free, total = self.module.mem_get_info(device)
        return Memory(self.module.memory_allocated(device), self.module.max_memory_allocated(device), free, total)

    def empty_cache(self) -> None:
        """Give blocks that torch keeps for later back to the driver."""
        self.module.empty_cache()

    def synchronize(self) -> None:
        """Wait for the current device."""
        self.module.synchronize()

    def new_event(self) -> Any:
        """One that torch has for this device."""
        return self.module.Event(enable_timing=True)

    def autocast(self, dtype: torch.dtype) -> AbstractContextManager[Any]:
        """Matrix products in ``dtype``; nothing to do in float32."""
        return nullcontext() if dtype is torch.float32 else torch.autocast(self.kind, dtype=dtype)

    def advice(self, error: BaseException) -> str:
        """What to do when memory is full, and about :attr:`known_errors`."""
        text = str(error).lower()
        if isinstance(error, torch.OutOfMemoryError) or any(words in text for words in self.exhausted):
            return memory_full(self.plan, self.memory(self.module.current_device()), self.ways())
        return next((advice for words, advice in self.known_errors.items() if words in text), "")
