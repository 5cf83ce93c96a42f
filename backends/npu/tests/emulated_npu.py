"""The backend ``npu`` on an emulated device: its own code, another device underneath. It proves nothing about Ascend cards."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import emulated_torch_npu
import torch
from tunesmith.testing.emulator import emulate
from tunesmith_npu.backend import NpuBackend

if TYPE_CHECKING:
    from tunesmith.plan import Plan

#: What the backend asked for, in order.
COMPILE_MODES: list[bool] = []


class EmulatedNpuBackend(NpuBackend):
    """Emulates the device, and then is the backend ``npu``."""

    def __init__(self, plan: Plan) -> None:
        npu = emulate("npu", devices=2, memory=2**31, process_group="hccl")
        npu.set_compile_mode = lambda jit_compile: COMPILE_MODES.append(jit_compile)  # of torch-npu, which is not here
        emulated_torch_npu.install()
        super().__init__(plan)
        del sys.modules["torch_npu"]  # else accelerate and transformers would not agree whether it is installed
        assert torch.npu is npu
