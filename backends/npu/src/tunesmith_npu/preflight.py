"""Whether an Ascend device is here and its software fits together: each mismatch one line with what mends it. No torch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict

from tunesmith.contracts import Finding, Probe

from tunesmith_npu.installed import HOME, VISIBLE, Installed, look
from tunesmith_npu.matching import command, compared, fits, recommended

#: Where CANN's installer leaves the script that sets up a shell.
SET_UP = "source {}/set_env.sh"


def probe() -> Probe:
    """The devices of this machine; not here, with the first reason, where anything of what they need does not fit."""
    found = look()
    wrong = [line for line in findings(found) if line.level == "fail"]
    if wrong:
        return Probe(False, f"{wrong[0].what} ({wrong[0].fix})", detail=asdict(found))
    return Probe(True, devices=_visible(found), detail=asdict(found))


def preflight() -> Iterator[Finding]:
    """Everything about this machine, line by line."""
    return findings(look())


def findings(found: Installed) -> Iterator[Finding]:
    """Devices, driver, CANN, torch-npu, and whether their versions belong together."""
    if not found.system.startswith("linux"):
        yield Finding("fail", f"Ascend's software is for Linux, and this is {found.system}", "Use another backend.")
        return
    yield from _devices(found)
    yield from _driver(found)
    yield from _cann(found)
    yield from _torch(found)
    if found.cann and found.torch_npu:
        yield from compared(found)


def _devices(found: Installed) -> Iterator[Finding]:
    if not found.devices:
        fix = "Install the driver (then npu-smi info lists devices); in a container pass --device /dev/davinci0 and so on."
        yield Finding("fail", "there is no Ascend device (/dev/davinci0) on this machine", fix)
    elif not _visible(found):
        yield Finding("fail", f"{VISIBLE} is {found.visible!r}, which hides every device", f"Unset it, or write {VISIBLE}=0.")
    else:
        yield Finding("ok", f"{found.devices} Ascend devices, {_visible(found)} of them visible")


def _visible(found: Installed) -> int:
    if found.visible is None:
        return found.devices
    named = [number.strip() for number in found.visible.split(",") if number.strip()]
    return sum(number.isdigit() and int(number) < found.devices for number in named)


def _driver(found: Installed) -> Iterator[Finding]:
    if found.driver:
        yield Finding("ok", f"driver {found.driver}")
    elif found.devices:
        fix = "In a container mount /usr/local/Ascend/driver from the host, read-only; else install Ascend HDK."
        yield Finding("fail", "the driver's version.info is not here", fix)
    else:
        yield Finding("fail", "the driver is not installed", "Install Ascend HDK: driver, then firmware.")


def _cann(found: Installed) -> Iterator[Finding]:
    if not found.toolkit:
        fix = "Install the toolkit and the kernels of CANN, or use an image that has them (quay.io/ascend/cann)."
        yield Finding("fail", "CANN is not installed", fix)
    elif not found.set_up:
        fix = f"{SET_UP.format(found.toolkit)}, then start again."
        yield Finding("fail", f"CANN {found.cann} is installed, and this shell does not know it ({HOME} is not set)", fix)
    elif not found.cann:
        yield Finding("warn", f"{found.toolkit} does not say which CANN it is", "Compare versions by hand.")
    else:
        yield Finding("ok", f"CANN {found.cann} in {found.toolkit}")


def _torch(found: Installed) -> Iterator[Finding]:
    wanted = recommended(found)
    install = command(wanted.torch, wanted.torch_npu, found.machine)
    if not found.torch_npu:
        yield Finding("fail", "torch-npu is not installed", install)
    elif not fits(found.torch, found.torch_npu):
        what = f"torch-npu {found.torch_npu} is for another torch than {found.torch or 'none'}"
        mate = command(found.torch_npu.partition(".post")[0], found.torch_npu, found.machine)
        yield Finding("fail", what, mate if mate == install else f"{mate}, or {install}")
    else:
        yield Finding("ok", f"torch {found.torch} with torch-npu {found.torch_npu}")
