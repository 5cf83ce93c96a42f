"""The tuners ``full`` and ``freeze`` against the conformance suite, and what is their own."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tunesmith.errors import TunesmithError
from tunesmith.plan import ModelWish
from tunesmith.testing import PluginSuite, TunerSuite
from tunesmith.testing.hand_plan import hand_plan
from tunesmith.testing.tiny_models import logits, tiny_llama, tiny_moe
from tunesmith_full.counting import count_unfrozen
from tunesmith_full.options import FreezeOptions
from tunesmith_full.plugin import tunesmith_check_plan, tunesmith_tuners
from tunesmith_full.tuners import FreezeTuner, FullTuner

FULL, FREEZE = tunesmith_tuners()


class TestPlugin(PluginSuite):
    plugin = "full"
    folder = Path(__file__).parents[1]


class TestFull(TunerSuite):
    spec = FULL

    def learns(self, name: str) -> bool:
        return True


class TestFreezeLastLayer(TunerSuite):
    spec = FREEZE
    options = (FreezeOptions(freeze_trainable_layers=1),)

    def learns(self, name: str) -> bool:
        return name.startswith("model.layers.1.")


class TestFreezeNamedModules(TunerSuite):
    spec = FREEZE
    options = (
        FreezeOptions(
            freeze_trainable_layers=-1,
            freeze_trainable_modules=("mlp.up_proj", "q_proj", "input_layernorm"),
            freeze_extra_modules=("norm",),
        ),
    )

    def learns(self, name: str) -> bool:
        inside = ("mlp.up_proj.weight", "self_attn.q_proj.weight", "input_layernorm.weight")
        return name in {f"model.layers.0.{path}" for path in inside} | {"model.norm.weight"}


def freeze(**options: object) -> FreezeTuner:
    return FreezeTuner(hand_plan(FreezeOptions(**options)))  # type: ignore[arg-type]


def learning(model: torch.nn.Module) -> set[str]:
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}


def test_experts_of_a_mixture_learn_by_their_module_name() -> None:
    model = freeze(freeze_trainable_layers=1, freeze_trainable_modules=("experts",)).apply(tiny_moe())
    assert learning(model) == {f"model.layers.1.mlp.experts.{name}" for name in ("gate_up_proj", "down_proj")}


def test_no_layer_but_extra_modules() -> None:
    model = freeze(freeze_trainable_layers=0, freeze_extra_modules=("embed_tokens", "lm_head")).apply(tiny_llama())
    assert learning(model) == {"model.embed_tokens.weight", "lm_head.weight"}


def test_a_shared_head_is_said_to_learn_along() -> None:
    tuner = freeze(freeze_trainable_layers=0, freeze_extra_modules=("embed_tokens",))
    model = tuner.apply(tiny_llama(tie_word_embeddings=True))
    assert any("share one weight" in line for line in tuner.describe(model))


def test_the_description_counts_what_learns() -> None:
    tuner = freeze(freeze_trainable_layers=0, freeze_extra_modules=("norm",))
    model = tuner.apply(tiny_llama())
    assert tuner.describe(model)[0].startswith("64 of ")


@pytest.mark.parametrize(
    ("options", "said", "listed"),
    [
        ({"freeze_trainable_modules": ("mlpp",)}, "freeze_trainable_modules names 'mlpp'", "self_attn"),
        ({"freeze_extra_modules": ("head",)}, "freeze_extra_modules names 'head'", "lm_head"),
        ({"freeze_extra_modules": ("mlp",)}, "freeze_extra_modules names 'mlp'", "embed_tokens"),
        ({"freeze_trainable_layers": 3}, "freeze_trainable_layers is 3", "from -2 to 2"),
        ({"freeze_trainable_layers": -5}, "the model has 2 layers", "from -2 to 2"),
    ],
)
def test_what_does_not_exist_is_an_error_that_lists_what_does(options: dict[str, object], said: str, listed: str) -> None:
    with pytest.raises(TunesmithError) as caught:
        freeze(**options).apply(tiny_llama())
    assert said in caught.value.message
    assert listed in caught.value.hint


def test_a_plan_with_nothing_to_learn_is_refused() -> None:
    plan = hand_plan(FreezeOptions(freeze_trainable_layers=0), picked={"tuners": "freeze"})
    assert [problem.what for problem in tunesmith_check_plan(plan)] == ["freeze_trainable_layers: 0 leaves nothing to learn"]
    other = hand_plan(FreezeOptions(freeze_trainable_layers=0), picked={"tuners": "full"})
    assert not list(tunesmith_check_plan(other))


@pytest.mark.parametrize(
    "config", [{"num_hidden_layers": 4}, {"num_hidden_layers": 9, "text_config": {"num_hidden_layers": 4}}]
)
def test_too_many_layers_are_seen_before_loading(tmp_path: Path, config: dict[str, Any]) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config))

    def found(count: int, folder: Path) -> list[str]:
        plan = hand_plan(FreezeOptions(freeze_trainable_layers=count), picked={"tuners": "freeze"})
        plan = replace(plan, models={"policy": ModelWish("policy", str(folder))})
        return [problem.what for problem in tunesmith_check_plan(plan)]

    assert found(-5, tmp_path) == ["freeze_trainable_layers is -5, and the model has 4 layers"]
    assert found(4, tmp_path) == found(5, tmp_path / "not-here") == []


def test_weights_of_another_model_are_refused(tmp_path: Path) -> None:
    tuner = FullTuner(hand_plan())
    tuner.save(tiny_llama(hidden_size=32), tmp_path)
    with pytest.raises(TunesmithError, match="another model"):
        tuner.load(tiny_llama(), tmp_path, trainable=False)


def test_quantised_weights_cannot_learn() -> None:
    model = tiny_llama()
    model.lm_head.weight = torch.nn.Parameter(torch.zeros(128, 64, dtype=torch.int8), requires_grad=False)
    with pytest.raises(TunesmithError, match="quantised"):
        FullTuner(hand_plan()).apply(model)


def test_a_mixture_of_experts_survives_saving(tmp_path: Path) -> None:
    tuner, model = FullTuner(hand_plan()), tiny_moe()
    tuner.save(model, tmp_path)
    assert torch.equal(logits(tuner.load(tiny_moe(seed=1), tmp_path, trainable=False)), logits(model))


@pytest.mark.parametrize("options", [FreezeOptions(), FreezeOptions(-1, ("mlp", "q_proj"), ("embed_tokens",))])
def test_the_estimate_counts_what_then_learns(options: FreezeOptions) -> None:
    model = FreezeTuner(hand_plan(options)).apply(tiny_llama())
    shapes = {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}
    learns = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    assert count_unfrozen(shapes, lambda key: getattr(options, key)) == learns
