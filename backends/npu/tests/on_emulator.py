"""The backend ``npu`` on the emulated device. ``test_npu_on_emulator.py`` runs this in a process of its own."""

from __future__ import annotations

import sys
from dataclasses import replace

import pytest
import torch
from emulated_npu import COMPILE_MODES, EmulatedNpuBackend
from emulated_torch_npu import CALLS, as_torch_npu
from tunesmith import TunesmithError
from tunesmith.testing import BackendSuite
from tunesmith.testing.hand_plan import hand_plan
from tunesmith.testing.tiny_models import logits, tiny_batch, tiny_llama
from tunesmith_npu.fused import FusedOperators
from tunesmith_npu.options import NpuOptions
from tunesmith_npu.plugin import BACKEND

EMULATED = replace(
    BACKEND, name="npu-emulated", load="emulated_npu:EmulatedNpuBackend", probe="emulated_probe:probe", preflight=""
)


class TestNpu(BackendSuite):
    spec = EMULATED
    options = (NpuOptions(),)
    exhausted = RuntimeError("NPU out of memory. Tried to allocate 20.00 GiB (NPU 0; 60.97 GiB total capacity)")


def test_it_says_how_operators_are_made() -> None:
    COMPILE_MODES.clear()
    EmulatedNpuBackend(hand_plan(NpuOptions(npu_jit_compile=True)))
    EmulatedNpuBackend(hand_plan(NpuOptions()))
    EmulatedNpuBackend(hand_plan())
    assert COMPILE_MODES == [True, False]


def test_more_processes_than_devices() -> None:
    with pytest.raises(TunesmithError, match="no device for local rank 2: torch sees 2") as caught:
        EmulatedNpuBackend(hand_plan()).device(2)
    assert "ASCEND_RT_VISIBLE_DEVICES" in caught.value.hint


def test_a_device_without_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    backend = EmulatedNpuBackend(hand_plan())
    monkeypatch.setattr(torch.npu, "is_bf16_supported", lambda: False, raising=False)
    assert backend.dtype("auto") is torch.float16
    with pytest.raises(TunesmithError, match="no bfloat16"):
        backend.dtype("bfloat16")


def test_a_full_device_names_three_ways_out() -> None:
    backend = EmulatedNpuBackend(hand_plan(per_device_train_batch_size=8, gradient_accumulation_steps=1, cutoff_len=4096))
    with pytest.raises(torch.OutOfMemoryError) as caught:
        torch.empty(2**33, dtype=torch.uint8, device="npu")
    _, *ways = backend.advice(caught.value).splitlines()
    assert len(ways) == 3
    assert "per_device_train_batch_size: 4" in ways[0]


def test_fused_operators_on_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    EmulatedNpuBackend(hand_plan())
    monkeypatch.setitem(sys.modules, "torch_npu", as_torch_npu())
    batch = {name: value.to("npu") for name, value in tiny_batch().items()}
    expected = logits(tiny_llama().to("npu"), batch)
    fused = FusedOperators(hand_plan()).after_load(tiny_llama().to("npu"))
    CALLS.clear()
    assert torch.allclose(logits(fused, batch), expected, atol=1e-4)
    assert set(CALLS) == {"npu_rms_norm", "npu_swiglu", "npu_rotary_mul", "npu_fusion_attention"}
