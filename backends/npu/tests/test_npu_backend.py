"""The plugin ``npu``: its backend without a device, its fused operators against emulated ones, what it says of a plan."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import nn
from tunesmith import TunesmithError, api
from tunesmith.contracts import Accelerator
from tunesmith.testing import AcceleratorSuite, BackendSuite, PluginSuite
from tunesmith.testing.hand_plan import hand_plan
from tunesmith.testing.tiny_models import tiny_llama
from tunesmith_npu.backend import runtime
from tunesmith_npu.fused import FusedOperators
from tunesmith_npu.options import FusedOptions, NpuOptions
from tunesmith_npu.plugin import BACKEND, FUSED, tunesmith_check_plan

sys.path.insert(0, str(Path(__file__).parent))
import emulated_torch_npu

FOUR = {"npu_rms_norm", "npu_swiglu", "npu_rotary_mul", "npu_fusion_attention"}


class TestPlugin(PluginSuite):
    plugin = "npu"
    folder = Path(__file__).parents[1]


class TestNpu(BackendSuite):
    spec = BACKEND
    options = (NpuOptions(),)
    exhausted = RuntimeError("NPU out of memory. Tried to allocate 20.00 GiB")


@pytest.fixture(autouse=True)
def operators(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """torch-npu's operators, emulated."""
    module = emulated_torch_npu.as_torch_npu()
    monkeypatch.setitem(sys.modules, "torch_npu", module)
    monkeypatch.setenv("DS_ACCELERATOR", "cpu")  # deepspeed would take the module for a device
    emulated_torch_npu.CALLS.clear()
    return module


class TestFused(AcceleratorSuite):
    spec = FUSED
    options = (FusedOptions(npu_fused_operators=True),)
    loss_tolerance = 1e-4
    norm_tolerance = 1e-3
    steps = 8

    def at_work(self, accelerator: Accelerator, model: Any) -> bool:
        return set(emulated_torch_npu.CALLS) == FOUR


def test_each_part_is_counted() -> None:
    fused = FusedOperators(hand_plan())
    model = fused.after_load(tiny_llama())
    layers = model.config.num_hidden_layers
    assert fused.exchanged == {
        "norms": 2 * layers + 1,
        "SwiGLU layers": layers,
        "rotary embeddings": layers,
        "attention layers": layers,
    }


def test_another_model_of_the_kind_stays_as_it_is() -> None:
    FusedOperators(hand_plan()).after_load(tiny_llama())
    emulated_torch_npu.CALLS.clear()
    tiny_llama()(torch.tensor([[1, 2, 3]]))
    assert not emulated_torch_npu.CALLS


def test_a_norm_that_computes_something_else_stays() -> None:
    class ShiftedRMSNorm(nn.Module):
        """Gemma's: the weight is what is added to one."""

        def __init__(self) -> None:
            super().__init__()
            self.weight, self.eps = nn.Parameter(torch.full((8,), 0.5)), 1e-6

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + self.eps) * (1 + self.weight)

    assert not FusedOperators(hand_plan())._norm(ShiftedRMSNorm())


def test_a_model_without_any_of_it_is_refused() -> None:
    class Plain(nn.Module):
        config = type("Config", (), {"_attn_implementation": "eager"})()

    with pytest.raises(TunesmithError, match="nothing of Plain has one"):
        FusedOperators(hand_plan()).after_load(Plain())


def test_a_padded_batch_is_masked() -> None:
    ids = torch.tensor([[5, 6, 7, 8], [5, 6, 0, 0]])
    seen = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]])
    expected = tiny_llama().eval()(ids, attention_mask=seen).logits
    found = FusedOperators(hand_plan()).after_load(tiny_llama().eval())(ids, attention_mask=seen).logits
    assert torch.allclose(found[seen.bool()], expected[seen.bool()], atol=1e-4)


def test_without_torch_npu_the_backend_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TunesmithError, match="torch-npu cannot run on this machine"):
        runtime()
    monkeypatch.setitem(sys.modules, "torch_npu", None)
    with pytest.raises(TunesmithError, match="torch-npu cannot be imported") as caught:
        runtime()
    assert "tunesmith doctor --backend npu" in caught.value.hint


def said(backend: str = "npu", **keys: Any) -> str:
    picked = {"backends": backend, **({"trainers": "sft"} if keys.pop("trains", False) else {})}
    return "; ".join(one.what for one in tunesmith_check_plan(hand_plan(picked=picked, **keys)))


def test_what_users_of_these_devices_should_know() -> None:
    assert "do_sample: false" in said(do_sample=True)
    assert not said(do_sample=True, trains=True)
    assert "do_sample: false" in said(do_sample=True, do_predict=True, trains=True)
    assert "every new length" in said(npu_jit_compile=True)
    assert not said("cpu", do_sample=True, npu_jit_compile=True)


def test_vllm_is_the_server_of_vllm_ascend_on_this_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine stays the one that users name; the device says which stack it lives in."""
    monkeypatch.setenv("TUNESMITH_STACKS", str(tmp_path))
    keys = {"model_name_or_path": "some/model", "infer_backend": "vllm", "template": "llama3"}
    for backend, stack in (("npu", "vllm-ascend"), ("cuda", "vllm")):
        plan = api.plan({**keys, "backend": backend}, command="chat")
        assert plan.server_stack == stack
        assert f"tunesmith stack create {stack}" in [problem.instead for problem in plan.missing]
