"""The backend ``cuda`` against the conformance suite (on a device, where there is one), and what is its own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tunesmith.errors import TunesmithError
from tunesmith.plan import Estimate, Plan
from tunesmith.testing import BackendSuite, PluginSuite
from tunesmith.testing.hand_plan import hand_plan
from tunesmith_cuda.backend import CudaBackend
from tunesmith_cuda.plugin import tunesmith_backends


class TestPlugin(PluginSuite):
    plugin = "cuda"
    folder = Path(__file__).parents[1]


class TestCuda(BackendSuite):
    spec = tunesmith_backends()[0]
    exhausted = torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")


def test_it_comes_before_the_processor_and_asks_for_growing_segments() -> None:
    spec = tunesmith_backends()[0]
    assert spec.priority > 0
    assert spec.visible_devices == "CUDA_VISIBLE_DEVICES"
    assert spec.environment["PYTORCH_CUDA_ALLOC_CONF"] == "expandable_segments:True"


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a device")
def test_without_a_device_it_cannot_be_made() -> None:
    with pytest.raises(TunesmithError, match="torch sees no CUDA or ROCm device") as caught:
        CudaBackend(hand_plan())
    assert "tunesmith doctor" in caught.value.hint


@pytest.fixture
def imagined(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """torch answers as on a machine with two devices of the last generation before Ampere."""
    answers: dict[str, Any] = {
        "is_available": lambda: True,
        "is_tf32_supported": lambda: False,
        "device_count": lambda: 2,
        "current_device": lambda: 1,
        "get_device_capability": lambda: (7, 5),
        "get_device_name": lambda: "Imaginary T4",
        "mem_get_info": lambda device: (2**30, 16 * 2**30),
        "memory_allocated": lambda device: 14 * 2**30,
        "max_memory_allocated": lambda device: 15 * 2**30,
        "get_arch_list": lambda: ["sm_75", "sm_80", "sm_90"],
    }
    for name, answer in answers.items():
        monkeypatch.setattr(torch.cuda, name, answer)
    return monkeypatch


def test_a_device_without_bfloat16(imagined: pytest.MonkeyPatch) -> None:
    backend = CudaBackend(hand_plan())
    assert backend.dtype("auto") is torch.float16
    with pytest.raises(TunesmithError, match=r"Imaginary T4 \(compute capability 7\.5\) has no bfloat16") as caught:
        backend.dtype("bfloat16")
    assert "fp16: true" in caught.value.hint
    imagined.setattr(torch.cuda, "get_device_capability", lambda: (9, 0))
    assert backend.dtype("auto") is backend.dtype("bfloat16") is torch.bfloat16


def test_tf32_where_there_is_none(imagined: pytest.MonkeyPatch) -> None:
    CudaBackend(hand_plan(tf32=False))
    with pytest.raises(TunesmithError, match="has no TF32"):
        CudaBackend(hand_plan(tf32=True))


def test_more_processes_than_devices(imagined: pytest.MonkeyPatch) -> None:
    backend = CudaBackend(hand_plan())
    assert backend.device(1) == torch.device("cuda", 1)
    with pytest.raises(TunesmithError, match="no device for local rank 2: torch sees 2"):
        backend.device(2)


def full(plan: Plan) -> list[str]:
    """The lines of the advice when memory is full."""
    return CudaBackend(plan).advice(torch.cuda.OutOfMemoryError("CUDA out of memory.")).splitlines()


def test_advice_names_the_estimate_and_three_ways_out(imagined: pytest.MonkeyPatch) -> None:
    keys = {"per_device_train_batch_size": 8, "gradient_accumulation_steps": 2, "bf16": True, "cutoff_len": 4096}
    plan = replace(hand_plan(picked={"tuners": "full"}, **keys), estimate=Estimate(1, 1, {"weights": 20 * 2**30}, 0.5, "test"))
    head, *ways = full(plan)
    assert "14.0 GiB held, 1.0 of 16.0 GiB free" in head
    assert "The plan expected 10.0 to 30.0 GiB." in head
    assert len(ways) == 3
    assert "1. per_device_train_batch_size: 4 with gradient_accumulation_steps: 4" in ways[0]
    assert "2. use_unsloth_gc: true" in ways[1]
    assert "3. finetuning_type: lora" in ways[2]


@pytest.mark.parametrize(
    ("keys", "tuner", "expected"),
    [
        (
            {"disable_gradient_checkpointing": True, "fp16": True},
            "lora",
            ["disable_gradient", "quantization_bit: 4", "shorter rows"],
        ),
        (
            {"use_unsloth_gc": True, "quantization_bit": 4, "cutoff_len": 512},
            "lora",
            ["bf16: true", "cutoff_len: 256", "a device"],
        ),
    ],
)
def test_what_was_tried_is_not_advised_again(
    imagined: pytest.MonkeyPatch, keys: dict[str, Any], tuner: str, expected: list[str]
) -> None:
    _, *ways = full(hand_plan(picked={"tuners": tuner}, **keys))
    assert [want in way for want, way in zip(expected, ways, strict=True)] == [True, True, True]


def test_a_torch_without_code_for_the_device(imagined: pytest.MonkeyPatch) -> None:
    advice = CudaBackend(hand_plan()).advice(
        RuntimeError("CUDA error: no kernel image is available for execution on the device")
    )
    assert "no code for Imaginary T4 (compute capability 7.5), only for sm_75, sm_80, sm_90" in advice
    assert CudaBackend(hand_plan()).advice(RuntimeError("shape mismatch")) == ""


@pytest.mark.parametrize(
    ("known", "here", "fits"),
    [
        (["sm_80", "sm_90"], (7, 5), False),
        (["sm_80", "sm_90a"], (8, 6), True),
        (["sm_80", "compute_80"], (9, 0), True),
        (["sm_90"], (10, 0), False),
        (["sm_100", "sm_120"], (12, 0), True),
        ([], (7, 0), True),
    ],
)
def test_the_code_of_a_build_is_compared_before_anything_is_loaded(
    imagined: pytest.MonkeyPatch, known: list[str], here: tuple[int, int], fits: bool
) -> None:
    imagined.setattr(torch.cuda, "get_arch_list", lambda: known)
    imagined.setattr(torch.cuda, "get_device_capability", lambda: here)
    if fits:
        CudaBackend(hand_plan())
    else:
        with pytest.raises(TunesmithError, match="This torch has no code for Imaginary T4") as caught:
            CudaBackend(hand_plan())
        assert "Install a build" in caught.value.hint


def test_rocm_says_its_own_names(imagined: pytest.MonkeyPatch) -> None:
    imagined.setattr(torch.version, "hip", "7.0")
    imagined.setattr(torch.cuda, "get_device_properties", lambda: SimpleNamespace(gcnArchName="gfx942"))
    backend = CudaBackend(hand_plan())
    assert backend.dtype("auto") is torch.bfloat16
    with pytest.raises(TunesmithError, match=r"Imaginary T4 \(gfx942\) has no TF32"):
        CudaBackend(hand_plan(tf32=True))
