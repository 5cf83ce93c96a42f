"""LLaMA Pro: the expanded model answers as before, its copies alone learn; and choosing weights by their kind."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from transformers import AutoModelForCausalLM, Gemma2Config, Gemma2ForCausalLM, GPT2Config, GPT2LMHeadModel
from tunesmith.config import Setting
from tunesmith.errors import TunesmithError
from tunesmith.plan import ModelWish
from tunesmith.testing import TunerSuite
from tunesmith.testing.hand_plan import hand_plan
from tunesmith.testing.tiny_models import SMALL, logits, tiny_llama, tiny_moe
from tunesmith_full.command import expand as command
from tunesmith_full.expansion import Layout, expand
from tunesmith_full.options import FreezeOptions
from tunesmith_full.plugin import tunesmith_check_plan, tunesmith_tuners
from tunesmith_full.tuners import FreezeTuner

FREEZE = tunesmith_tuners()[1]
GPT = {"n_embd": 64, "n_layer": 2, "n_head": 4, "vocab_size": 128, "n_positions": 128, "num_hidden_layers": 2}
MODELS: dict[str, Any] = {
    "llama": lambda: tiny_llama(num_hidden_layers=4),
    "experts": tiny_moe,
    "gemma2": lambda: Gemma2ForCausalLM(Gemma2Config(**SMALL, head_dim=16)),
}


def test_it_is_said_that_no_other_tuner_chooses_blocks() -> None:
    plan = hand_plan(picked={"tuners": "lora"})
    asked = replace(plan, unused={"use_llama_pro": Setting(True, "run.yaml:3", "full", given=True)})
    (problem,) = tunesmith_check_plan(asked)
    assert (problem.where, "for finetuning_type: freeze alone" in problem.what) == ("run.yaml:3", True)
    assert not list(tunesmith_check_plan(plan))


def test_copies_come_after_each_group() -> None:
    assert [old for old, _ in Layout.of(4, 2).order] == [0, 1, 1, 2, 3, 3]
    assert [new for new, (_, copy) in enumerate(Layout.of(4, 2).order) if copy] == [2, 5]
    with pytest.raises(TunesmithError, match="4 layers cannot be split into 3 equal groups") as caught:
        Layout.of(4, 3)
    assert "one of 1, 2, 4" in caught.value.hint


@pytest.mark.parametrize("family", MODELS)
@pytest.mark.parametrize("shard", ["50GB", "60KB"])
def test_an_expanded_model_answers_as_before(family: str, shard: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = MODELS[family]().eval()
    model.save_pretrained(tmp_path / "old", max_shard_size=shard)
    expand(tmp_path / "old", tmp_path / "new", 2)
    again, info = AutoModelForCausalLM.from_pretrained(tmp_path / "new", output_loading_info=True)
    assert not any(info[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert again.config.num_hidden_layers == model.config.num_hidden_layers + 2
    assert torch.equal(logits(again), logits(model))


def test_only_the_copies_learn(tmp_path: Path) -> None:
    tiny_llama(num_hidden_layers=4).save_pretrained(tmp_path / "old")
    expand(tmp_path / "old", tmp_path / "new", 2)
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "new")
    tuned = FreezeTuner(hand_plan(FreezeOptions(freeze_trainable_layers=2, use_llama_pro=True))).apply(model)
    learning = {name.split(".")[2] for name, weight in tuned.named_parameters() if weight.requires_grad}
    assert learning == {"2", "5"}


def test_the_command_says_what_it_made(tmp_path: Path) -> None:
    tiny_llama().save_pretrained(tmp_path / "old")
    (tmp_path / "old" / "tokenizer.json").write_text("{}")
    done = CliRunner().invoke(command, [str(tmp_path / "old"), "--blocks", "1", "--out", str(tmp_path / "new")])
    assert done.exit_code == 0, done.output
    assert "3 layers; new are 2" in done.output
    assert (tmp_path / "new" / "tokenizer.json").is_file()


def test_folders_that_are_not_what_they_should_be(tmp_path: Path) -> None:
    with pytest.raises(TunesmithError, match="holds no model in safetensors"):
        expand(tmp_path, tmp_path / "new", 1)
    tiny_llama().save_pretrained(tmp_path / "old")
    with pytest.raises(TunesmithError, match="is not empty"):
        expand(tmp_path / "old", tmp_path / "old", 1)


def test_a_word_for_each_layer_is_repeated_with_it(tmp_path: Path) -> None:
    torch.manual_seed(0)
    Gemma2ForCausalLM(Gemma2Config(**SMALL, head_dim=16)).save_pretrained(tmp_path / "old")
    expand(tmp_path / "old", tmp_path / "new", 1)
    config = json.loads((tmp_path / "new" / "config.json").read_text())
    assert config["layer_types"] == ["sliding_attention", "full_attention", "full_attention"]


# -- weights by their kind -----------------------------------------------------------------------------------------------


class TestNorms(TunerSuite):
    spec = FREEZE
    options = (FreezeOptions(freeze_trainable_weights="norms"),)

    def learns(self, name: str) -> bool:
        return "norm" in name


class TestBiases(TunerSuite):
    spec = FREEZE
    options = (FreezeOptions(freeze_trainable_weights="biases"),)
    learning_rate = 0.1

    def model(self) -> Any:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return GPT2LMHeadModel(GPT2Config(**GPT)).eval()

    def learns(self, name: str) -> bool:
        return name.endswith(".bias")


class TestBlocks(TunerSuite):
    spec = FREEZE
    options = (FreezeOptions(freeze_trainable_layers=1, use_llama_pro=True),)

    def learns(self, name: str) -> bool:
        return ".layers.1." in name


def test_norms_are_found_by_other_names_too() -> None:
    model = FreezeTuner(hand_plan(FreezeOptions(freeze_trainable_weights="norms"))).apply(GPT2LMHeadModel(GPT2Config(**GPT)))
    learning = {name.split(".")[-2] for name, weight in model.named_parameters() if weight.requires_grad}
    assert learning == {"ln_1", "ln_2", "ln_f"}


def test_a_model_without_biases_says_so() -> None:
    with pytest.raises(TunesmithError, match="this model has no biases"):
        FreezeTuner(hand_plan(FreezeOptions(freeze_trainable_weights="biases"))).apply(tiny_llama())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"freeze_trainable_weights": "norms", "freeze_extra_modules": ("lm_head",)}, "freeze_extra_modules has no meaning"),
        ({"use_llama_pro": True, "freeze_trainable_layers": -1}, "leaves no block to learn"),
        ({"use_llama_pro": True, "freeze_trainable_layers": 3}, "4 layers cannot be split into 3 equal groups"),
    ],
)
def test_what_a_plan_can_know_it_says(options: dict[str, Any], said: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"num_hidden_layers": 4}))
    plan = hand_plan(FreezeOptions(**options), picked={"tuners": "freeze"})
    given = {key: replace(setting, given=key in options) for key, setting in plan.settings.items()}
    plan = replace(plan, settings=given, models={"policy": ModelWish("policy", str(tmp_path))})
    (problem,) = tunesmith_check_plan(plan)
    assert said in problem.what
