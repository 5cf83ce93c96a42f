"""An emulated device, for tests of device backends on machines that have no such device. **An emulator, never hardware.**

torch leaves one place free for devices that it does not know (``PrivateUse1``). :func:`emulate` fills it, under any name, with
a device whose memory, random numbers and processes are its own and whose operators copy to the processor, compute there and
copy back. It refuses what a device refuses: tensors of another device mixed in, number formats that it lacks (float64, complex
numbers, sparse tensors), more memory than it has, another vendor's calls. What it cannot show: speed, the numbers of real
kernels, drivers.

::

    # conftest.py or the backend under test
    from tunesmith.testing.emulator import emulate

    emulate("acme", devices=2, memory=2**30, process_group="acme-link")
    torch.ones(3, device="acme:1")

It is C++ of one file, compiled when first asked for (half a minute) and kept in the cache folder of the user.
:func:`why_not` says, without torch, why there is none on this machine. One process can emulate one device.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tunesmith.testing.emulator.building import why_not as why_not

if TYPE_CHECKING:
    from tunesmith.testing.emulator.device_module import DeviceModule


def emulate(name: str, *, devices: int = 1, memory: int = 4 * 2**30, process_group: str = "") -> DeviceModule:
    """Have a device ``name`` in this process: ``torch.device(name)``, ``torch.<name>``.

    Calls of a device that the machine really has fail from now on.

    :param devices: how many, at most 8. Each process of a run sees all of them.
    :param memory: bytes that each has.
    :param process_group: torch.distributed's name of what its processes talk over; ``<name>-gloo`` if empty.
    :return: ``torch.<name>``. Called again, the very same.
    :raises TunesmithError: it cannot be built here, or this process emulates another one already.
    """
    from tunesmith.testing.emulator.device_module import start  # imports torch, which a probe must not

    return start(name, devices, memory, process_group or f"{name}-gloo")
