"""Ascend devices as the device of a run. torch-npu gives them to torch as ``npu``."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from tunesmith import TunesmithError
from tunesmith.memory_advice import half_precision, more_room, recompute, shorter_rows, smaller_batch
from tunesmith.runtime.device_module import DeviceModuleBackend

if TYPE_CHECKING:
    from tunesmith.plan import Plan


class NpuBackend(DeviceModuleBackend):
    """Computes on the device of each process's local rank. Atlas 800 with 910 and 910 Pro have no bfloat16."""

    kind, maker, visible = "npu", "Ascend", "ASCEND_RT_VISIBLE_DEVICES"
    exhausted = ("npu out of memory", "207018", "error code: el0004", "failed to allocate memory")
    #: Words of errors that people meet, and what they mean.
    known_errors: ClassVar = {
        "libhccl.so": "CANN is not set up in this shell: source its set_env.sh.",
        "libascend_hal.so": "The driver's libraries are not here; in a container mount /usr/local/Ascend/driver.",
        "err02200": "A process waited too long for another one (HCCL): look at what the others said first.",
        "hccl_connect_timeout": "Processes did not find each other: a firewall, or HCCL_IF_IP where there are many networks.",
        "507035": "An operator failed on the device: try npu_jit_compile: true, and npu_fused_operators: false.",
    }

    def __init__(self, plan: Plan) -> None:
        """Import torch-npu, look at the devices once, and say how operators are made.

        :raises TunesmithError: torch-npu cannot be imported, or finds no device.
        """
        super().__init__(plan)
        if "npu_jit_compile" in plan.settings:
            self.module.set_compile_mode(jit_compile=bool(plan["npu_jit_compile"]))

    def find_module(self) -> Any:
        """``torch.npu``, which importing torch-npu brings."""
        return runtime()

    def ways(self) -> Iterator[str]:
        """What to try when memory is full, the best first."""
        yield from smaller_batch(self.plan)
        yield from recompute(self.plan)
        yield from half_precision(self.plan)
        if [chosen.name for chosen in self.plan.picked("tuners")] in (["full"], ["freeze"]):
            yield "finetuning_type: lora, so that far fewer weights learn"
        yield from shorter_rows(self.plan)
        yield from more_room()


def runtime() -> Any:
    """``torch.npu``, which importing torch-npu brings.

    :raises TunesmithError: it cannot be imported.
    """
    try:
        import_module("torch_npu")
    except ImportError as error:
        hint = "tunesmith doctor --backend npu says what is missing."
        raise TunesmithError(f"torch-npu cannot be imported: {error}", hint) from error
    if not hasattr(torch, "npu"):
        raise TunesmithError("torch-npu cannot run on this machine.", "tunesmith doctor --backend npu says why.")
    return torch.npu
