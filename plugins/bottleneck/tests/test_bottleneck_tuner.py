"""Bottleneck adapters against the conformance suite, in runs, on many families, and what is said where they cannot go."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    FalconConfig,
    FalconForCausalLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    MambaConfig,
    MambaForCausalLM,
    OPTConfig,
    OPTForCausalLM,
    PhiConfig,
    PhiForCausalLM,
)
from tunesmith.config import Setting
from tunesmith.errors import TunesmithError
from tunesmith.plan import ModelWish
from tunesmith.testing import TunerSuite
from tunesmith.testing.hand_plan import hand_plan
from tunesmith.testing.small_run import SmallStore, small_losses, small_plan, small_plugins, small_rows, small_session
from tunesmith.testing.tiny_models import SMALL, logits, tiny_batch, tiny_llama, tiny_moe
from tunesmith_bottleneck.counting import count_learning
from tunesmith_bottleneck.options import BottleneckOptions
from tunesmith_bottleneck.plugin import TUNER, tunesmith_check_plan
from tunesmith_bottleneck.tuner import AdapterTuner

pytest_plugins = ["tunesmith.testing.fixtures"]


class BottleneckCase(TunerSuite):
    spec = TUNER
    learning_rate = 0.3

    def learns(self, name: str) -> bool:
        return ".bottleneck." in name

    def test_merged_it_answers_the_same(self, tmp_path: Path) -> None:
        tuner, model = self.trained()
        with pytest.raises(TunesmithError, match="cannot be merged"):
            tuner.merge(model)


class TestHoulsby(BottleneckCase):
    options = (BottleneckOptions(bottleneck_type="houlsby", bottleneck_reduction=4),)


class TestPfeiffer(BottleneckCase):
    options = (BottleneckOptions(bottleneck_size=8, bottleneck_activation="gelu"),)


class TestParallel(BottleneckCase):
    options = (BottleneckOptions(bottleneck_type="parallel", bottleneck_size=8, bottleneck_scaling=4.0),)
    learning_rate = 1e-2


class TestOnExperts(BottleneckCase):
    options = (BottleneckOptions(bottleneck_type="houlsby", bottleneck_size=8, bottleneck_activation="silu"),)

    def model(self) -> Any:
        return tiny_moe()


class TestLinear(BottleneckCase):
    options = (BottleneckOptions(bottleneck_type="houlsby", bottleneck_size=8, bottleneck_activation="identity"),)
    tolerance = 1e-4
    test_merged_it_answers_the_same = TunerSuite.test_merged_it_answers_the_same


def tuner(**options: Any) -> AdapterTuner:
    return AdapterTuner(hand_plan(BottleneckOptions(**options)))


GPT = {"n_embd": 64, "n_layer": 2, "n_head": 4, "vocab_size": 128, "n_positions": 128}
FAMILIES: dict[str, Callable[[], Any]] = {
    "gpt2": lambda: GPT2LMHeadModel(GPT2Config(**GPT)),
    "gemma2": lambda: Gemma2ForCausalLM(Gemma2Config(**SMALL, head_dim=16)),
    "falcon": lambda: FalconForCausalLM(
        FalconConfig(hidden_size=64, num_hidden_layers=2, num_attention_heads=4, vocab_size=128)
    ),
    "gpt_neox": lambda: GPTNeoXForCausalLM(GPTNeoXConfig(**{**SMALL, "num_key_value_heads": 4})),
    "opt": lambda: OPTForCausalLM(
        OPTConfig(hidden_size=64, num_hidden_layers=2, num_attention_heads=4, ffn_dim=128, vocab_size=128)
    ),
    "phi": lambda: PhiForCausalLM(PhiConfig(**SMALL)),
}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("place", ["houlsby", "pfeiffer", "parallel"])
def test_it_finds_its_places_in_many_families(family: str, place: str) -> None:
    """The one that starts from nothing answers exactly as the base, the others nearly; all of them learn."""
    torch.manual_seed(0)
    model = FAMILIES[family]().eval()
    if (family, place) == ("opt", "parallel"):  # its feed-forward part is two matrices in the layer itself
        with pytest.raises(TunesmithError, match="no module of its own"):
            tuner(bottleneck_type=place).apply(model)
        return
    expected = logits(model)
    tuned = tuner(bottleneck_type=place, bottleneck_size=4).apply(model)
    held = [name for name, _ in tuned.named_modules() if name.endswith(".bottleneck")]
    assert len(held) == (4 if place == "houlsby" else 2)
    assert torch.allclose(logits(tuned), expected, atol=0 if place == "parallel" else 0.1)
    tuned(**tiny_batch()).loss.backward()
    assert all(weight.grad is not None for weight in tuned.parameters() if weight.requires_grad)


def test_families_of_the_core_have_places(tiny_model_of: Callable[[str], Path]) -> None:
    from transformers import AutoModelForCausalLM

    for family in ("qwen3", "llama"):
        model = AutoModelForCausalLM.from_pretrained(tiny_model_of(family))
        assert tuner(bottleneck_type="houlsby").describe(tuner(bottleneck_type="houlsby").apply(model))


def test_a_model_without_two_parts_in_a_layer_is_refused() -> None:
    model = MambaForCausalLM(MambaConfig(hidden_size=32, num_hidden_layers=2, vocab_size=128, state_size=4))
    with pytest.raises(TunesmithError, match="no feed-forward part is known") as caught:
        tuner().apply(model)
    assert "mixer (MambaMixer)" in caught.value.message


def test_it_is_what_the_paper_says_it_is() -> None:
    """``h + s·(U relu(D h + d) + u)`` behind the feed-forward part, worked out by hand."""
    model = tuner(bottleneck_size=4, bottleneck_scaling=2.0).apply(tiny_llama())
    part = model.model.layers[0].mlp
    network, states = part.bottleneck, torch.randn(2, 3, 64)
    for weight in network.parameters():
        torch.nn.init.normal_(weight)
    with torch.no_grad():
        with tuner().without(model):
            plain = part(states)
        middle = torch.relu(plain @ network.down.weight.T + network.down.bias)
        expected = plain + 2.0 * (middle @ network.up.weight.T + network.up.bias)
        assert torch.allclose(part(states), expected, atol=1e-4)


def test_it_starts_as_the_paper_does() -> None:
    model = tuner(bottleneck_size=16).apply(tiny_llama())
    network = model.model.layers[0].mlp.bottleneck
    for weight in (network.down.weight, network.up.weight):
        assert weight.abs().max() <= 2e-2
        assert weight.std().item() == pytest.approx(0.88e-2, rel=0.1)  # of a normal distribution that is cut at two deviations
    assert not network.down.bias.any()


@pytest.mark.parametrize("reentrant", [True, False])
def test_activations_can_be_recomputed(reentrant: bool) -> None:
    torch.manual_seed(0)
    plain = tuner(bottleneck_type="houlsby", bottleneck_size=4).apply(tiny_llama()).train()
    plain(**tiny_batch()).loss.backward()
    torch.manual_seed(0)
    other = tuner(bottleneck_type="houlsby", bottleneck_size=4).apply(tiny_llama()).train()
    other.gradient_checkpointing_enable({"use_reentrant": reentrant})
    other(**tiny_batch()).loss.backward()
    for one, two in zip(plain.parameters(), other.parameters(), strict=True):
        assert one.grad is None or torch.allclose(one.grad, two.grad, atol=1e-6)


def test_a_resumed_run_is_the_uninterrupted_one(tmp_path: Path) -> None:
    def run(**keys: Any) -> list[float]:
        plugins = small_plugins(bottleneck="tunesmith_bottleneck.plugin")
        given = {"finetuning_type": "adapter", "max_steps": 6, "bottleneck_dropout": 0.1, "bf16": True, **keys}
        plan = small_plan(tmp_path, plugins, "small", picked={"tuners": "adapter"}, **given)
        opened = small_session(plan, plugins, SmallStore(small_rows(16)))
        opened.trainer.run(opened)
        return small_losses(opened)

    whole = run(save_strategy="steps", save_steps=3)
    assert run(resume_from_checkpoint=str(tmp_path / "out" / "checkpoint-3")) == whole


def test_an_adapter_of_another_model_or_another_kind_is_refused(tmp_path: Path) -> None:
    one = tuner()
    one.save(one.apply(tiny_llama()), tmp_path)
    for other in ({"hidden_size": 32}, {"num_hidden_layers": 1}):
        with pytest.raises(TunesmithError, match="does not fit LlamaForCausalLM"):
            tuner().load(tiny_llama(**other), tmp_path, trainable=True)
    (tmp_path / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA"}))
    with pytest.raises(TunesmithError, match=r"holds no bottleneck adapter: adapter_config\.json says"):
        tuner().load(tiny_llama(), tmp_path, trainable=True)
    with pytest.raises(TunesmithError, match=r"adapter_config\.json is missing"):
        tuner().load(tiny_llama(), tmp_path / "nowhere", trainable=True)


@pytest.mark.parametrize(
    "options", [BottleneckOptions(), BottleneckOptions("houlsby", bottleneck_size=8, bottleneck_activation="identity")]
)
def test_the_estimate_counts_what_then_learns(options: BottleneckOptions) -> None:
    base = tiny_llama()
    shapes = {name: tuple(weight.shape) for name, weight in base.named_parameters()}
    model = AdapterTuner(hand_plan(options)).apply(base)
    value = {item.name: getattr(options, item.name) for item in fields(options)}
    learns = sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
    assert count_learning(shapes, value.__getitem__) == learns


@pytest.mark.parametrize(("activation", "refused"), [("relu", True), ("identity", False)])
def test_an_export_that_would_have_to_merge_what_cannot_be_is_refused(tmp_path: Path, activation: str, refused: bool) -> None:
    one = tuner(bottleneck_activation=activation)
    one.save(one.apply(tiny_llama()), tmp_path)
    plan = replace(hand_plan(adapter_name_or_path=(str(tmp_path),)), command="export")
    plan = replace(plan, models={"policy": ModelWish("policy", "m", adapters=(str(tmp_path),))})
    assert bool(list(tunesmith_check_plan(plan))) is refused


@pytest.mark.parametrize("key", ["additional_target", "create_new_adapter"])
def test_what_only_other_tuners_do_beside_it_is_refused(key: str) -> None:
    plan = hand_plan(picked={"tuners": "adapter"})
    asked = replace(plan, unused={key: Setting(True, "run.yaml:3", "lora", given=True)})
    assert [problem.where for problem in tunesmith_check_plan(asked)] == ["run.yaml:3"]
    assert not list(tunesmith_check_plan(plan))
