"""NVIDIA and AMD devices as the device of a run. torch calls both ``cuda``; importing this module touches no device."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
from tunesmith import TunesmithError
from tunesmith.runtime.device_module import DeviceModuleBackend

from tunesmith_cuda.preflight import AMPERE
from tunesmith_cuda.remedies import remedies

if TYPE_CHECKING:
    from tunesmith.plan import Plan


class CudaBackend(DeviceModuleBackend):
    """Computes on the device of each process's local rank."""

    kind, maker, visible = "cuda", "CUDA or ROCm", "CUDA_VISIBLE_DEVICES"
    exhausted = ("cuda out of memory", "hip out of memory", "cublas_status_alloc_failed", "cuda error: out of memory")

    def __init__(self, plan: Plan) -> None:
        """Look at the device once.

        :raises TunesmithError: torch sees none or has no code for it, or ``tf32: true`` asks for what it cannot do.
        """
        super().__init__(plan)
        if not _has_code():
            raise TunesmithError(*_no_code())
        if "tf32" in plan.settings and plan["tf32"] and not torch.cuda.is_tf32_supported():
            raise TunesmithError(f"{self.name()} has no TF32.", "Leave tf32 out.")

    def has_bfloat16(self) -> bool:
        """Whether the device computes in it; torch also says yes where it is only emulated."""
        return torch.version.hip is not None or torch.cuda.get_device_capability() >= AMPERE

    def name(self) -> str:
        """Its model and generation."""
        return _name()

    def ways(self) -> Iterator[str]:
        """What to try when memory is full, the best first."""
        return remedies(self.plan)

    def advice(self, error: BaseException) -> str:
        """What to do when memory is full, or when torch has no code for the device."""
        if "no kernel image is available" in str(error).lower():
            return " ".join(_no_code())
        return super().advice(error)


def _has_code() -> bool:
    """Whether this torch was compiled for the device: for its generation, or in a form (PTX) that the driver compiles on."""
    known = torch.cuda.get_arch_list()
    if torch.version.hip is not None or not known:
        return True  # a ROCm build names whole architectures, and says by itself which one it lacks
    here = torch.cuda.get_device_capability()
    found = [(kind, (int(number[:-1]), int(number[-1]))) for kind, number in (_split(name) for name in known)]
    return any(able <= here and (kind == "compute" or able[0] == here[0]) for kind, able in found)


def _split(architecture: str) -> tuple[str, str]:
    """``"sm_90a"`` → ``("sm", "90")``."""
    kind, _, number = architecture.partition("_")
    return kind, "".join(filter(str.isdigit, number))


def _no_code() -> tuple[str, str]:
    known = ", ".join(torch.cuda.get_arch_list())
    return f"This torch has no code for {_name()}, only for {known}.", "Install a build for it: pytorch.org/get-started"


def _name() -> str:
    if torch.version.hip is not None:
        return f"{torch.cuda.get_device_name()} ({torch.cuda.get_device_properties().gcnArchName})"
    major, minor = torch.cuda.get_device_capability()
    return f"{torch.cuda.get_device_name()} (compute capability {major}.{minor})"
