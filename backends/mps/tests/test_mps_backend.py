"""The backend ``mps`` against the conformance suite (on a device, where there is one), and what is its own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tunesmith import TunesmithError
from tunesmith.testing import BackendSuite, PluginSuite
from tunesmith.testing.hand_plan import hand_plan
from tunesmith_mps import backend as module
from tunesmith_mps.backend import MpsBackend
from tunesmith_mps.machine import Mac, findings, look, why_not
from tunesmith_mps.plugin import MPS

WELL = Mac("darwin", "arm64", (15, 2), 16 * 2**30)


class TestPlugin(PluginSuite):
    plugin = "mps"
    folder = Path(__file__).parents[1]


class TestMps(BackendSuite):
    spec = MPS
    exhausted = RuntimeError("MPS backend out of memory (MPS allocated: 17.00 GB, max allowed: 18.13 GB)")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({}, ""),
        ({"system": "linux"}, "this is linux"),
        ({"processor": "x86_64"}, "this processor is x86_64"),
        ({"version": (13, 6)}, "this is macOS 13.6, and torch's Metal code wants 14.0"),
        ({"torch": False}, "torch is not installed"),
    ],
)
def test_why_there_is_none(change: dict[str, Any], said: str) -> None:
    reason, fix = why_not(replace(WELL, **change))
    assert said in reason
    assert bool(reason) == bool(fix) == bool(said)
    assert [line.level for line in findings(replace(WELL, **change))] == (["fail"] if said else ["ok", "ok"])


def test_it_reads_this_machine() -> None:
    assert look().processor
    assert (look().version > (0, 0)) == (look().system == "darwin")


@pytest.fixture
def imagined(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """torch answers as on a machine with Metal."""
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(module, "look", lambda: WELL)
    held = iter([3 * 2**30, 2**30, 2**30])
    monkeypatch.setattr(torch.mps, "current_allocated_memory", lambda: next(held))
    monkeypatch.setattr(torch.mps, "recommended_max_memory", lambda: 12 * 2**30)
    monkeypatch.setattr(torch.mps, "driver_allocated_memory", lambda: 4 * 2**30)
    return monkeypatch


@pytest.mark.skipif(torch.backends.mps.is_available(), reason="there is a device")
def test_without_a_device_it_cannot_be_made() -> None:
    with pytest.raises(TunesmithError, match="was built without Metal") as caught:
        MpsBackend(hand_plan())
    assert "tunesmith doctor" in caught.value.hint


def test_number_formats(imagined: pytest.MonkeyPatch) -> None:
    backend = MpsBackend(hand_plan())
    assert backend.dtype("auto") is torch.bfloat16
    imagined.setattr(module, "look", lambda: replace(WELL, version=(13, 0)))
    assert backend.dtype("auto") is torch.float16
    for wanted in ("bfloat16", "float64"):
        with pytest.raises(TunesmithError):
            backend.dtype(wanted)


def test_one_process(imagined: pytest.MonkeyPatch) -> None:
    with pytest.raises(TunesmithError, match="none for local rank 1"):
        MpsBackend(hand_plan()).device(1)


def test_it_remembers_the_most_memory(imagined: pytest.MonkeyPatch) -> None:
    backend = MpsBackend(hand_plan())
    assert backend.memory().used == 3 * 2**30
    later = backend.memory()
    assert (later.used, later.peak, later.free, later.total) == (2**30, 3 * 2**30, 8 * 2**30, 12 * 2**30)


@pytest.mark.parametrize(
    ("error", "advice"),
    [
        ("MPS backend out of memory", "1. per_device_train_batch_size: 2"),
        ("The operator 'aten::x' is not currently implemented for the MPS device", "PYTORCH_ENABLE_MPS_FALLBACK=1"),
        ("Cannot convert a MPS Tensor to float64 dtype", "no float64"),
        ("shape mismatch", ""),
    ],
)
def test_errors_that_people_meet(imagined: pytest.MonkeyPatch, error: str, advice: str) -> None:
    plan = hand_plan(per_device_train_batch_size=4, gradient_accumulation_steps=1)
    found = MpsBackend(plan).advice(RuntimeError(error))
    assert advice in found
    assert bool(advice) == bool(found)
