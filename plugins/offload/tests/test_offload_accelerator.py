"""The accelerator ``offload`` against the conformance suite, and what is its own."""

from __future__ import annotations

from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
import torch
from tunesmith.errors import TunesmithError
from tunesmith.testing import AcceleratorSuite, PluginSuite
from tunesmith.testing.accelerator_suite import train
from tunesmith.testing.hand_plan import hand_plan
from tunesmith.testing.tiny_models import tiny_batch, tiny_llama, tiny_moe
from tunesmith_offload.accelerator import OffloadAccelerator
from tunesmith_offload.options import OffloadOptions
from tunesmith_offload.plugin import tunesmith_accelerators, tunesmith_check_plan
from tunesmith_offload.saved import OnCpu, Traffic

LAYERS = 2


class TestPlugin(PluginSuite):
    plugin = "offload"
    folder = Path(__file__).parents[1]


class Case(AcceleratorSuite):
    spec = tunesmith_accelerators()[0]
    options = (OffloadOptions(use_unsloth_gc=True),)

    def at_work(self, accelerator: Any, model: Any) -> bool:
        traffic = accelerator.traffic
        return bool(traffic.kept >= self.steps * LAYERS and traffic.returned >= self.steps * LAYERS)


class TestReentrant(Case):
    arguments = MappingProxyType({"activation_checkpointing_kwargs": {"use_reentrant": True}})


class TestNotReentrant(Case):
    arguments = MappingProxyType({"activation_checkpointing_kwargs": {"use_reentrant": False}})


class TestMixtureOfExperts(Case):
    def model(self) -> Any:
        return tiny_moe()


def accelerator() -> OffloadAccelerator:
    return OffloadAccelerator(hand_plan(OffloadOptions(use_unsloth_gc=True)))


def gradients(model: Any) -> dict[str, torch.Tensor]:
    model.train()
    model(**tiny_batch()).loss.backward()
    return {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}


@pytest.mark.parametrize("reentrant", [True, False])
def test_every_gradient_is_the_same_bit_for_bit(reentrant: bool) -> None:
    plain = gradients(tiny_llama())
    one = accelerator()
    model = one.after_load(tiny_llama())
    model.activation_checkpointing_enable({"use_reentrant": reentrant})
    found = gradients(model)
    assert found.keys() == plain.keys()
    assert all(torch.equal(found[name], plain[name]) for name in plain)
    assert one.traffic.kept > 0


def test_it_works_under_an_adapter(tmp_path: Path) -> None:
    peft = pytest.importorskip("peft")

    def adapted(base: Any) -> Any:
        torch.manual_seed(0)
        return peft.get_peft_model(base, peft.LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False))

    one = accelerator()
    arguments = {"max_steps": 3, "activation_checkpointing": True}
    plain = train(adapted(tiny_llama()), tmp_path / "plain", arguments)
    with_it = train(adapted(one.after_load(tiny_llama())), tmp_path / "with", arguments)
    assert with_it == plain
    assert one.traffic.returned >= 3 * LAYERS


def test_layers_can_be_left_out() -> None:
    one = accelerator()
    model = one.after_load(tiny_llama(num_hidden_layers=4))
    model.activation_checkpointing_enable(every_n_layers=2)
    gradients(model)
    half = one.traffic.kept
    model.activation_checkpointing_enable()
    gradients(model)
    assert one.traffic.kept - half == 2 * half


def test_turned_on_twice_it_counts_once() -> None:
    one = accelerator()
    model = one.after_load(tiny_llama())
    for _ in range(2):
        model.activation_checkpointing_enable()
        before = one.traffic.kept
        gradients(model)
        assert one.traffic.kept - before == LAYERS


def test_a_model_without_checkpointing_is_refused() -> None:
    model = tiny_llama()
    model.supports_gradient_checkpointing = False
    with pytest.raises(TunesmithError, match="has no gradient checkpointing"):
        accelerator().after_load(model)


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({}, 0),
        ({"disable_gradient_checkpointing": False}, 0),
        ({"disable_gradient_checkpointing": True}, 1),
        ({"gradient_checkpointing": False}, 1),
        ({"gradient_checkpointing": None}, 0),
    ],
)
def test_a_plan_without_checkpointing_is_refused(keys: dict[str, Any], expected: int) -> None:
    plan = hand_plan(OffloadOptions(use_unsloth_gc=True), picked={"accelerators": "offload"}, **keys)
    assert len(list(tunesmith_check_plan(plan))) == expected


def test_it_is_silent_when_it_was_not_picked() -> None:
    assert not list(tunesmith_check_plan(hand_plan(OffloadOptions(), disable_gradient_checkpointing=True)))


def test_activations_leave_a_device_and_come_back() -> None:
    device = torch.accelerator.current_accelerator()
    if device is None:
        pytest.skip("there is no device but the CPU")
    traffic = Traffic()
    weight = torch.rand(64, 64, device=device, requires_grad=True)
    with OnCpu(traffic):
        loss = (weight.sin() ** 2).sum()
    loss.backward()
    assert traffic.moved_bytes >= weight.nbytes
    assert torch.allclose(weight.grad, (2 * weight.sin() * weight.cos()).detach())
