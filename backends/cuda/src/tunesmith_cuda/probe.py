"""Whether there is a device that torch could use, and if not why, in words. No torch."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path

from tunesmith.contracts import Probe

from tunesmith_cuda.driver import AMD, NVIDIA, Driver, DriverError, Vendor

#: The file that AMD's kernel driver makes.
KFD = Path("/dev/kfd")
#: Variables that limit what a process sees: NVIDIA's, which ROCm obeys too, and AMD's own.
VISIBLE = {NVIDIA: ("CUDA_VISIBLE_DEVICES",), AMD: ("HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "CUDA_VISIBLE_DEVICES")}


@dataclass(frozen=True)
class Build:
    """What the installed torch was built for: its version, and that of CUDA or ROCm where it was built for one."""

    version: str = ""
    cuda: str = ""
    hip: str = ""


def probe() -> Probe:
    """Ask the driver of this machine. Takes some milliseconds, more where there are many devices."""
    return look(os.environ, torch_build(), KFD.exists(), Driver)


def look(environ: Mapping[str, str], build: Build, kfd: bool, open_driver: Callable[..., Driver]) -> Probe:
    """What :func:`probe` does, with everything it looks at as arguments.

    :param kfd: AMD's kernel driver is loaded.
    :param open_driver: called with a vendor and the folders to look in.
    """
    vendor = AMD if kfd and (build.hip or not build.cuda) else NVIDIA
    try:
        driver = open_driver(vendor, _folders(vendor))
    except OSError:
        return Probe(False, _no_library(vendor))
    except DriverError as error:
        return Probe(False, hidden(environ, vendor) or f"{vendor.name}'s driver finds nothing: {error}")
    return _found(vendor, driver, environ, build)


def _found(vendor: Vendor, driver: Driver, environ: Mapping[str, str], build: Build) -> Probe:
    try:
        devices, version = driver.devices(), driver.version()
    except DriverError as error:
        return Probe(False, f"{vendor.name}'s driver does not say what is there: {error}")
    if not devices:
        return Probe(False, hidden(environ, vendor) or f"{vendor.name}'s driver is here, and no device")
    detail = {"vendor": vendor.name, "driver": version, "torch": asdict(build), "devices": [asdict(one) for one in devices]}
    if not (build.cuda if vendor is NVIDIA else build.hip):
        return Probe(False, _wrong_build(vendor, build, len(devices)), detail=detail)
    if vendor is NVIDIA and int(build.cuda.partition(".")[0]) > version // 1000:
        return Probe(False, _old_driver(version, build), detail=detail)
    return Probe(True, devices=len(devices), memory=min(one.memory for one in devices), detail=detail)


def _no_library(vendor: Vendor) -> str:
    if vendor is AMD:
        return f"there is an AMD device ({KFD}), and no ROCm library ({AMD.libraries[0]})"
    return f"there is no NVIDIA driver ({NVIDIA.libraries[0]}) and no AMD one ({KFD}) on this machine"


def _wrong_build(vendor: Vendor, build: Build, count: int) -> str:
    wanted = "CUDA" if vendor is NVIDIA else "ROCm"
    there = f"{count} {vendor.name} device{'s' if count > 1 else ''} found"
    if not build.version:
        return f"{there}, and torch is not installed"
    return f"{there}, and the installed torch {build.version} was built without {wanted}: see pytorch.org/get-started"


def _old_driver(version: int, build: Build) -> str:
    knows = f"{version // 1000}.{version % 1000 // 10}"
    return (
        f"the driver knows CUDA up to {knows}, and the installed torch {build.version} was built for CUDA {build.cuda}: "
        f"update the driver, or install a torch for CUDA {version // 1000}"
    )


def hidden(environ: Mapping[str, str], vendor: Vendor) -> str:
    """That a variable hides every device, in words; empty when none does."""
    for name in VISIBLE[vendor]:
        value = environ.get(name)
        if value is not None and (not value.strip() or value.strip().startswith("-1")):
            return f"{name} is {value!r}, which hides every device"
    return ""


def torch_build() -> Build:
    """What the installed torch says of itself, read from its ``version.py`` without importing it."""
    spec = find_spec("torch")
    file = Path(spec.origin).parent / "version.py" if spec and spec.origin else None
    return read_build(file.read_text(encoding="utf-8")) if file and file.is_file() else Build()


def read_build(text: str) -> Build:
    """The versions in torch's ``version.py``; what is ``None`` there is empty here."""
    found = dict(re.findall(r"^(__version__|cuda|hip)\b[^=]*=\s*'([^']*)'", text, re.MULTILINE))
    return Build(found.get("__version__", ""), found.get("cuda", ""), found.get("hip", ""))


def _folders(vendor: Vendor) -> tuple[str, ...]:
    """Where the library may be: where the system looks, and for ROCm also inside torch, which brings it along."""
    spec = find_spec("torch") if vendor is AMD else None
    return ("", f"{Path(spec.origin).parent / 'lib'}{os.sep}") if spec and spec.origin else ("",)
