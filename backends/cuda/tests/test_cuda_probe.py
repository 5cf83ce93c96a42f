"""How devices are looked for: with no driver, and with drivers made for the test by a C compiler."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import pytest
from tunesmith.contracts import Probe
from tunesmith_cuda import preflight
from tunesmith_cuda.driver import AMD, NVIDIA, Driver, Vendor
from tunesmith_cuda.probe import Build, look, probe, read_build, torch_build

CUDA, ROCM, PLAIN = Build("2.13.0", cuda="12.9"), Build("2.13.0+rocm7.0", hip="7.0"), Build("2.13.0+cpu")

#: A driver with the calls that are used, two devices or none, and an init that may fail.
SOURCE = """
#include <string.h>
#include <stddef.h>
int {p}Init(unsigned flags) {{ return flags == 0 ? {init} : 1; }}
int {p}DriverGetVersion(int *out) {{ *out = 12080; return 0; }}
int {count_call}(int *out) {{ *out = {count}; return 0; }}
int {p}DeviceGet(int *out, int index) {{ *out = index + 40; return 0; }}
int {p}DeviceGetName(char *out, int length, int device) {{
    strncpy(out, device == 40 ? "Imaginary A" : "Imaginary B", length); return 0; }}
int {memory_call}(size_t *out, int device) {{ *out = (size_t)(device - 39) << 33; return 0; }}
int {p}DeviceComputeCapability(int *major, int *minor, int device) {{ *major = 9; *minor = device - 40; return {broken}; }}
"""


@pytest.fixture
def made(tmp_path: Path) -> Callable[..., Callable[..., Driver]]:
    """Compile a driver and return what opens it instead of the machine's."""
    compiler = shutil.which("cc")
    if compiler is None or not sys.platform.startswith("linux"):
        pytest.skip("there is no C compiler")

    def make(vendor: Vendor, *, init: int = 0, count: int = 2, broken: int = 0) -> Callable[..., Driver]:
        calls = {"count_call": vendor.prefix + vendor.count, "memory_call": vendor.prefix + vendor.memory}
        folder = Path(mkdtemp(dir=tmp_path))  # one path is loaded once only
        source, library = folder / "driver.c", folder / vendor.libraries[0]
        source.write_text(SOURCE.format(p=vendor.prefix, init=init, count=count, broken=broken, **calls))
        subprocess.run([compiler, "-shared", "-fPIC", "-o", str(library), str(source)], check=True)
        return lambda wanted, folders: Driver(wanted, (f"{folder}/",))

    return make


def absent(vendor: Vendor, folders: Sequence[str]) -> Any:
    return ctypes.CDLL("libthere-is-no-such-driver.so")


def test_no_driver() -> None:
    found = look({}, CUDA, False, absent)
    assert not found.here
    assert found.reason == "there is no NVIDIA driver (libcuda.so.1) and no AMD one (/dev/kfd) on this machine"


def test_an_amd_device_without_rocm() -> None:
    assert "no ROCm library" in look({}, ROCM, True, absent).reason


@pytest.mark.parametrize(("vendor", "build", "kfd"), [(NVIDIA, CUDA, False), (AMD, ROCM, True), (NVIDIA, CUDA, True)])
def test_devices_are_counted_and_named(made: Any, vendor: Vendor, build: Build, kfd: bool) -> None:
    found = look({}, build, kfd, made(vendor))
    assert found.here, found.reason
    assert found.devices == 2
    assert found.detail["vendor"] == vendor.name
    assert found.detail["driver"] == 12080
    assert found.detail["devices"] == [
        {"name": "Imaginary A", "memory": 2**33, "capability": "9.0"},
        {"name": "Imaginary B", "memory": 2**34, "capability": "9.1"},
    ]


@pytest.mark.parametrize("value", ["", " ", "-1"])
def test_a_variable_that_hides_every_device_is_named(made: Any, value: str) -> None:
    found = look({"CUDA_VISIBLE_DEVICES": value}, CUDA, False, made(NVIDIA, init=100))
    assert found == Probe(False, f"CUDA_VISIBLE_DEVICES is {value!r}, which hides every device")
    found = look({"HIP_VISIBLE_DEVICES": value}, ROCM, True, made(AMD, count=0))
    assert "HIP_VISIBLE_DEVICES" in found.reason


def test_a_driver_that_finds_nothing(made: Any) -> None:
    assert (
        look({}, CUDA, False, made(NVIDIA, init=100)).reason == "NVIDIA's driver finds nothing: cuInit answers 100: no device"
    )
    assert (
        look({"CUDA_VISIBLE_DEVICES": "0"}, CUDA, False, made(NVIDIA, count=0)).reason
        == "NVIDIA's driver is here, and no device"
    )


def test_a_driver_that_breaks_off(made: Any) -> None:
    found = look({}, CUDA, False, made(NVIDIA, broken=999))
    assert "cuDeviceComputeCapability answers 999: unknown error" in found.reason


@pytest.mark.parametrize(
    ("vendor", "build", "kfd", "said"),
    [
        (NVIDIA, PLAIN, False, "2 NVIDIA devices found, and the installed torch 2.13.0+cpu was built without CUDA"),
        (AMD, PLAIN, True, "was built without ROCm"),
        (NVIDIA, Build(), False, "2 NVIDIA devices found, and torch is not installed"),
    ],
)
def test_a_torch_that_does_not_fit(made: Any, vendor: Vendor, build: Build, kfd: bool, said: str) -> None:
    found = look({}, build, kfd, made(vendor))
    assert not found.here
    assert said in found.reason
    assert len(found.detail["devices"]) == 2


def test_a_driver_older_than_the_build(made: Any) -> None:
    found = look({}, Build("2.13.0+cu130", cuda="13.0"), False, made(NVIDIA))
    assert not found.here
    assert "the driver knows CUDA up to 12.8, and the installed torch 2.13.0+cu130 was built for CUDA 13.0" in found.reason


def test_the_preflight_has_a_line_for_everything(made: Any) -> None:
    found = look({}, CUDA, False, made(NVIDIA))
    old = {
        **found.detail,
        "devices": [{"name": "Imaginary T", "memory": 2**34, "capability": "7.5"}, found.detail["devices"][0]],
    }
    lines = list(preflight.look(replace(found, detail=old), {"PYTORCH_CUDA_ALLOC_CONF": "max_split_size_mb:64"}))
    assert [line.level for line in lines] == ["warn", "ok", "ok", "warn"]
    assert "fp16: true instead" in lines[0].fix
    assert lines[1].what == "device 1: Imaginary A, 8 GiB, compute capability 9.0: bfloat16 and TF32"
    assert lines[2].what == "torch 2.13.0 was built for CUDA 12.9"
    assert "expandable_segments" in lines[3].fix
    amd = list(preflight.look(look({}, ROCM, True, made(AMD)), {}))
    assert [line.what for line in amd][::2] == ["device 0: Imaginary A, 8 GiB", "torch 2.13.0+rocm7.0 was built for ROCm 7.0"]


def test_the_version_file_of_torch_is_read_and_not_imported() -> None:
    text = "__version__ = '2.13.0+cu129'\ndebug = False\ncuda: Optional[str] = '12.9'\nhip: Optional[str] = None\n"
    assert read_build(text) == Build("2.13.0+cu129", cuda="12.9")
    assert read_build("__version__ = '2.13.0'\ncuda = None\nhip: Optional[str] = '7.0.1'\n") == Build("2.13.0", hip="7.0.1")


def test_what_is_read_is_what_torch_says() -> None:
    import torch

    assert torch_build() == Build(str(torch.__version__), torch.version.cuda or "", torch.version.hip or "")


def test_this_machine_is_answered_as_torch_would() -> None:
    import torch

    found = probe()
    assert found.here == torch.cuda.is_available()
    assert found.devices == torch.cuda.device_count()
    assert found.here or found.reason
