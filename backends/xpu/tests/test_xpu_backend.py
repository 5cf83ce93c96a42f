"""The backend ``xpu`` against the conformance suite (on a device, where there is one), and what is its own."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tunesmith import TunesmithError
from tunesmith.testing import BackendSuite, PluginSuite
from tunesmith.testing.hand_plan import hand_plan
from tunesmith_xpu.backend import XpuBackend
from tunesmith_xpu.machine import Found, findings, look, read_build, torch_build
from tunesmith_xpu.plugin import XPU

BUILD = ("2.13.0+xpu", "20250302")

#: A Level Zero with two drivers: the first has devices, the second has none.
SOURCE = """
#include <stddef.h>
#include <stdint.h>
int zeInit(uint32_t flags) {{ return flags == 1 ? {init} : 1; }}
int zeDriverGet(uint32_t *count, void **out) {{
    if (out) {{ out[0] = (void *)1; out[1] = (void *)2; }} *count = 2; return 0; }}
int zeDeviceGet(void *driver, uint32_t *count, void **out) {{ *count = driver == (void *)1 ? {devices} : 0; return 0; }}
"""


class TestPlugin(PluginSuite):
    plugin = "xpu"
    folder = Path(__file__).parents[1]


class TestXpu(BackendSuite):
    spec = XPU
    exhausted = torch.OutOfMemoryError("XPU out of memory. Tried to allocate 20.00 GiB")


@pytest.fixture
def made(tmp_path: Path) -> Callable[..., Callable[[], Any]]:
    """Compile a Level Zero and return what opens it."""
    compiler = shutil.which("cc")
    if compiler is None or not sys.platform.startswith("linux"):
        pytest.skip("there is no C compiler")

    def make(init: int = 0, devices: int = 2) -> Callable[[], Any]:
        source, library = tmp_path / "ze.c", tmp_path / f"ze-{init}-{devices}.so"
        source.write_text(SOURCE.format(init=init, devices=devices))
        subprocess.run([compiler, "-shared", "-fPIC", "-o", str(library), str(source)], check=True)
        return lambda: ctypes.CDLL(str(library))

    return make


def absent() -> Any:
    raise OSError("libze_loader.so.1: cannot open shared object file")


def test_devices_are_counted(made: Any) -> None:
    found = look({}, BUILD, made())
    assert found == Found(2, *BUILD)
    assert [line.what for line in findings(found)] == [
        "2 Intel devices by Level Zero",
        "torch 2.13.0+xpu was built for XPU 20250302",
    ]


def test_why_there_is_none(made: Any) -> None:
    assert look({}, BUILD, absent).reason == "there is no Level Zero driver (libze_loader.so.1) on this machine"
    assert look({}, BUILD, made(init=0x78000001)).reason == "Level Zero finds no Intel device: zeInit answers 0x78000001"
    assert look({"ZE_AFFINITY_MASK": "9"}, BUILD, made(devices=0)).reason.endswith("; ZE_AFFINITY_MASK is '9'")
    assert look({}, ("2.13.0+cpu", ""), made()).reason == "the installed torch 2.13.0+cpu was built without XPU"
    assert look({}, ("", ""), made()).reason == "torch is not installed"
    levels = [line.level for line in findings(look({}, ("2.13.0+cpu", ""), made()))]
    assert levels == ["ok", "fail"]


def test_the_version_file_of_torch_is_read() -> None:
    assert read_build("__version__ = '2.13.0+xpu'\nxpu: Optional[str] = '20250302'\n") == BUILD
    assert torch_build() == (str(torch.__version__), torch.version.xpu or "")


@pytest.fixture
def imagined(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """torch answers as on a machine with two devices."""
    answers: dict[str, Any] = {
        "is_available": lambda: True,
        "device_count": lambda: 2,
        "current_device": lambda: 1,
        "is_bf16_supported": lambda: False,
        "mem_get_info": lambda device: (2**30, 16 * 2**30),
        "memory_allocated": lambda device: 14 * 2**30,
        "max_memory_allocated": lambda device: 15 * 2**30,
    }
    for name, answer in answers.items():
        monkeypatch.setattr(torch.xpu, name, answer)
    return monkeypatch


@pytest.mark.skipif(torch.xpu.is_available(), reason="there is a device")
def test_without_a_device_it_cannot_be_made() -> None:
    with pytest.raises(TunesmithError, match="torch sees no Intel device"):
        XpuBackend(hand_plan())


def test_number_formats(imagined: pytest.MonkeyPatch) -> None:
    backend = XpuBackend(hand_plan())
    assert backend.dtype("auto") is torch.float16
    for wanted in ("bfloat16", "float64"):
        with pytest.raises(TunesmithError):
            backend.dtype(wanted)
    imagined.setattr(torch.xpu, "is_bf16_supported", lambda: True)
    assert backend.dtype("auto") is backend.dtype("bfloat16") is torch.bfloat16


def test_more_processes_than_devices(imagined: pytest.MonkeyPatch) -> None:
    with pytest.raises(TunesmithError, match="no device for local rank 2: torch sees 2"):
        XpuBackend(hand_plan()).device(2)


def test_errors_that_people_meet(imagined: pytest.MonkeyPatch) -> None:
    backend = XpuBackend(hand_plan(per_device_train_batch_size=8, gradient_accumulation_steps=2))
    assert "14.0 GiB held, 1.0 of 16.0 GiB free" in backend.advice(torch.OutOfMemoryError("XPU out of memory"))
    assert "no float64" in backend.advice(RuntimeError("Required aspect fp64 is not supported on the device"))
    assert backend.advice(RuntimeError("shape mismatch")) == ""
