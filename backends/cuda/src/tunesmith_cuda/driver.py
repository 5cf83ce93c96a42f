"""Asks the device driver itself, by ctypes, what devices there are. No torch.

NVIDIA's driver interface (``cuInit``, …) and AMD's (``hipInit``, …) have the same calls under other names. A process that has
asked must not be forked into one that computes on the device: drivers do not survive that.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

#: Codes that both drivers give, in words.
CODES = {
    3: "not initialised",
    35: "the driver is too old",
    100: "no device",
    101: "no such device",
    803: "driver and library do not fit together",
    804: "the device is too old for this driver",
    999: "unknown error",
}


class DriverError(Exception):
    """A call failed; the text says which and why."""


@dataclass(frozen=True)
class Vendor:
    """Whose driver: where its library may be, and how its calls are named."""

    name: str
    libraries: tuple[str, ...]
    prefix: str
    version: str = "DriverGetVersion"
    count: str = "DeviceGetCount"
    memory: str = "DeviceTotalMem"


NVIDIA = Vendor("NVIDIA", ("libcuda.so.1", "libcuda.so", "nvcuda.dll"), "cu", memory="DeviceTotalMem_v2")
AMD = Vendor(
    "AMD", ("libamdhip64.so", "libamdhip64.so.7", "libamdhip64.so.6", "libamdhip64.so.5"), "hip", count="GetDeviceCount"
)


@dataclass(frozen=True)
class Device:
    """One device: its name, bytes of memory and compute capability ("9.0")."""

    name: str
    memory: int
    capability: str


class Driver:
    """An opened driver library.

    :param folders: where its libraries are looked for; the empty string means where the system looks.
    :raises OSError: none of the libraries is there.
    :raises DriverError: it does not start.
    """

    def __init__(
        self, vendor: Vendor, folders: Sequence[str] = ("",), open_library: Callable[[str], Any] = ctypes.CDLL
    ) -> None:
        self._vendor = vendor
        self._library = _open([folder + name for folder in folders for name in vendor.libraries], open_library)
        self._call("Init", ctypes.c_uint(0))

    def version(self) -> int:
        """The newest interface that the driver knows, in its own numbering (12080 is CUDA 12.8)."""
        return self._number(self._vendor.version)

    def devices(self) -> list[Device]:
        """Every device that the environment lets this process see."""
        return [self._device(self._number("DeviceGet", index)) for index in range(self._number(self._vendor.count))]

    def _device(self, handle: int) -> Device:
        name, memory, device = ctypes.create_string_buffer(256), ctypes.c_size_t(), ctypes.c_int(handle)
        major, minor = ctypes.c_int(), ctypes.c_int()
        self._call("DeviceGetName", name, ctypes.c_int(len(name)), device)
        self._call(self._vendor.memory, ctypes.byref(memory), device)
        self._call("DeviceComputeCapability", ctypes.byref(major), ctypes.byref(minor), device)
        return Device(name.value.decode(errors="replace"), memory.value, f"{major.value}.{minor.value}")

    def _number(self, call: str, *arguments: int) -> int:
        answer = ctypes.c_int()
        self._call(call, ctypes.byref(answer), *map(ctypes.c_int, arguments))
        return answer.value

    def _call(self, call: str, *arguments: Any) -> None:
        name = self._vendor.prefix + call
        code = getattr(self._library, name)(*arguments)
        if code:
            raise DriverError(f"{name} answers {code}: {CODES.get(code, 'error')}")


def _open(names: Sequence[str], open_library: Callable[[str], Any]) -> Any:
    for name in names[:-1]:
        try:
            return open_library(name)
        except OSError:
            continue
    return open_library(names[-1])
