"""Whether there is an Intel device that torch could use, asked of the driver by Level Zero. No torch.

Level Zero: https://oneapi-src.github.io/level-zero-spec (``zeInit``, ``zeDriverGet``, ``zeDeviceGet``).
"""

from __future__ import annotations

import ctypes
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tunesmith.contracts import Finding, Probe

LIBRARIES = ("libze_loader.so.1", "libze_loader.so", "ze_loader.dll")
VISIBLE = "ZE_AFFINITY_MASK"
#: ``ZE_INIT_FLAG_GPU_ONLY``.
ONLY_GPUS = 1
INSTALL = "Install Intel's driver (dgpu-docs.intel.com) and a torch for it: pytorch.org/get-started, platform XPU."


@dataclass(frozen=True)
class Found:
    """What there is: devices, versions of torch and of what it was built for, and why there is none."""

    devices: int = 0
    torch: str = ""
    xpu: str = ""
    visible: str | None = None
    reason: str = ""


def probe() -> Probe:
    """Ask the driver of this machine."""
    found = look(os.environ, torch_build(), open_loader)
    return Probe(not found.reason, found.reason, 0 if found.reason else found.devices, detail=asdict(found))


def preflight() -> Iterator[Finding]:
    """Driver, devices, torch build, line by line."""
    return findings(look(os.environ, torch_build(), open_loader))


def findings(found: Found) -> Iterator[Finding]:
    """What :func:`preflight` says of what was found."""
    if found.devices:
        yield Finding("ok", f"{found.devices} Intel device{'s' if found.devices > 1 else ''} by Level Zero")
    if found.reason:
        yield Finding("fail", found.reason, INSTALL)
    else:
        yield Finding("ok", f"torch {found.torch} was built for XPU {found.xpu}")


def look(environ: Mapping[str, str], build: tuple[str, str], loader: Callable[[], Any]) -> Found:
    """What there is, with everything that is looked at as arguments.

    :param build: torch's version, and the version of Intel's libraries that it was built for; empty for neither.
    :param loader: opens Level Zero's library.
    """
    version, xpu = build
    visible = environ.get(VISIBLE)
    try:
        devices, wrong = count(loader()), ""
    except OSError:
        devices, wrong = 0, f"there is no Level Zero driver ({LIBRARIES[0]}) on this machine"
    except DriverError as error:
        devices, wrong = 0, f"Level Zero finds no Intel device: {error}"
    if not wrong and not devices:
        hides = f"; {VISIBLE} is {visible!r}" if visible is not None else ""
        wrong = f"Level Zero is here, and no Intel device{hides}"
    elif not wrong and not version:
        wrong = "torch is not installed"
    elif not wrong and not xpu:
        wrong = f"the installed torch {version} was built without XPU"
    return Found(devices, version, xpu, visible, wrong)


class DriverError(Exception):
    """A call failed; the text says which and how."""


def open_loader() -> Any:
    """Level Zero's library.

    :raises OSError: it is not there.
    """
    for name in LIBRARIES[:-1]:
        try:
            return ctypes.CDLL(name)
        except OSError:
            continue
    return ctypes.CDLL(LIBRARIES[-1])


def count(library: Any) -> int:
    """Devices of all drivers that this process may see.

    :raises DriverError: a call failed.
    """
    _call(library, "zeInit", ctypes.c_uint32(ONLY_GPUS))
    number = ctypes.c_uint32()
    _call(library, "zeDriverGet", ctypes.byref(number), None)
    drivers = (ctypes.c_void_p * number.value)()
    _call(library, "zeDriverGet", ctypes.byref(number), drivers)
    devices = 0
    for driver in drivers:
        number = ctypes.c_uint32()
        _call(library, "zeDeviceGet", ctypes.c_void_p(driver), ctypes.byref(number), None)
        devices += number.value
    return devices


def _call(library: Any, name: str, *arguments: Any) -> None:
    code = getattr(library, name)(*arguments)
    if code:
        raise DriverError(f"{name} answers {code & 0xFFFFFFFF:#x}")


def torch_build() -> tuple[str, str]:
    """What the installed torch says of itself in its ``version.py``, without importing it."""
    spec = find_spec("torch")
    file = Path(spec.origin).parent / "version.py" if spec and spec.origin else None
    return read_build(file.read_text(encoding="utf-8")) if file and file.is_file() else ("", "")


def read_build(text: str) -> tuple[str, str]:
    """The version in torch's ``version.py``, and that of Intel's libraries; empty where it has none."""
    found = dict(re.findall(r"^(__version__|xpu)\b[^=]*=\s*'([^']*)'", text, re.MULTILINE))
    return found.get("__version__", ""), found.get("xpu", "")
