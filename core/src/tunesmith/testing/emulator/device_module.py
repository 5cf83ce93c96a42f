"""The emulated device as torch sees it: ``torch.<name>``, with what torch and trainers call there."""

from __future__ import annotations

import ctypes
from types import ModuleType
from typing import Any

import torch

from tunesmith.errors import TunesmithError
from tunesmith.testing.emulator.building import library
from tunesmith.testing.emulator.process_group import register_group

#: The one device of this process.
_started: dict[str, DeviceModule] = {}


class DeviceModule(ModuleType):
    """``torch.<name>``: devices, random numbers and memory of the emulated device."""

    def __init__(self, name: str, native: Any) -> None:
        super().__init__(f"torch.{name}", f"The emulated device {name}: not hardware.")
        self._kind, self._native = name, native
        for call in ("emulator_used", "emulator_peak", "emulator_total"):
            getattr(native, call).restype = ctypes.c_int64

    # -- devices ---------------------------------------------------------------------------------------------------

    def is_available(self) -> bool:
        """Always, once it is emulated."""
        return True

    is_initialized = is_available

    def _is_in_bad_fork(self) -> bool:
        return False

    def device_count(self) -> int:
        """How many devices are emulated."""
        return int(self._native.emulator_devices())

    def current_device(self) -> int:
        """The one that tensors without a number go to."""
        return int(self._native.emulator_current())

    def set_device(self, device: Any) -> None:
        """Make another one the current one.

        :raises RuntimeError: there is none with that number.
        """
        index = self._index(device)
        if not 0 <= index < self.device_count():
            raise RuntimeError(f"There is no {self._kind}:{index} (emulated): there are {self.device_count()}")
        self._native.emulator_set_current(index)

    def get_device_name(self, device: Any = None) -> str:
        """What it calls itself."""
        return f"emulated {self._kind}:{self._index(device)}"

    def device(self, device: Any) -> _Current:
        """Within it, another device is the current one."""
        return _Current(self, self._index(device))

    def synchronize(self, device: Any = None) -> None:
        """Everything is done when a call comes back."""

    def _index(self, device: Any = None) -> int:
        if device is None:
            return self.current_device()
        if isinstance(device, int):
            return device
        index = torch.device(device).index
        return self.current_device() if index is None else index

    Event, Stream = torch.Event, torch.Stream

    # -- number formats and random numbers -------------------------------------------------------------------------

    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        """What mixed precision may compute in."""
        return [torch.bfloat16, torch.float16]

    def is_bf16_supported(self) -> bool:
        """It has bfloat16."""
        return True

    def manual_seed(self, seed: int) -> None:
        """Seed the current device."""
        self._native.emulator_seed(self.current_device(), ctypes.c_uint64(seed % 2**64))

    def manual_seed_all(self, seed: int) -> None:
        """Seed every device."""
        for index in range(self.device_count()):
            self._native.emulator_seed(index, ctypes.c_uint64(seed % 2**64))

    def get_rng_state(self, device: Any = None) -> torch.Tensor:
        """The state of a device's generator, on the processor."""
        state: torch.Tensor = torch.ops.tunesmith_emulator.get_state(self._index(device))
        return state

    def set_rng_state(self, state: torch.Tensor, device: Any = None) -> None:
        """Restore what :meth:`get_rng_state` gave."""
        torch.ops.tunesmith_emulator.set_state(self._index(device), state)

    # -- memory ----------------------------------------------------------------------------------------------------

    def memory_allocated(self, device: Any = None) -> int:
        """Bytes in use."""
        return int(self._native.emulator_used(self._index(device)))

    memory_reserved = memory_allocated

    def max_memory_allocated(self, device: Any = None) -> int:
        """The most bytes in use so far."""
        return int(self._native.emulator_peak(self._index(device)))

    max_memory_reserved = max_memory_allocated

    def reset_peak_memory_stats(self, device: Any = None) -> None:
        """Count the most bytes from now on."""
        self._native.emulator_forget_peak(self._index(device))

    def mem_get_info(self, device: Any = None) -> tuple[int, int]:
        """Free bytes and all bytes."""
        total = int(self._native.emulator_total(self._index(device)))
        return total - self.memory_allocated(device), total

    def empty_cache(self) -> None:
        """Nothing is kept for later."""


class _Current:
    """Makes a device the current one within a ``with``; torch's own contexts take devices as ``int`` and as ``None`` too."""

    def __init__(self, module: DeviceModule, index: int) -> None:
        self._module, self._index = module, index

    def __enter__(self) -> None:
        self._before = self._module.current_device()
        self._module.set_device(self._index)

    def __exit__(self, *_: object) -> None:
        self._module.set_device(self._before)


def start(name: str, devices: int, memory: int, process_group: str) -> DeviceModule:
    """What :func:`tunesmith.testing.emulator.emulate` does."""
    if name in _started:
        return _started[name]
    if _started:
        message = f"This process emulates {next(iter(_started))} already, and torch has place for one."
        raise TunesmithError(message, "Emulate each in a process of its own.")
    if (other := torch.accelerator.current_accelerator()) is not None:
        _shut(other.type, name)
    built = str(library())
    torch.ops.load_library(built)
    native = ctypes.CDLL(built)
    native.emulator_start(ctypes.c_int(devices), ctypes.c_int64(memory))
    module = _started[name] = DeviceModule(name, native)
    torch.utils.rename_privateuse1_backend(name)
    torch._register_device_module(name, module)
    torch.utils.generate_methods_for_privateuse1_backend()
    register_group(process_group, name)
    _print_without_float64(name)
    return module


def _shut(other: str, name: str) -> None:
    """Calls of a device that this machine really has fail, as they would beside the emulated one."""

    def refuse() -> None:
        raise RuntimeError(f"This process emulates {name}: nothing may use {other}.")

    torch.get_device_module(other)._lazy_init = refuse


def _print_without_float64(name: str) -> None:
    """torch prints numbers by way of float64, and knows which devices have none; this one it cannot know."""
    usual = torch._tensor_str.tensor_totype
    torch._tensor_str.tensor_totype = lambda one: one.float() if one.device.type == name else usual(one)
