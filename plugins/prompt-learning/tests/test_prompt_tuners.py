"""The tuners that learn a prompt against the conformance suite, in a run, and in plans that cannot use them."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from tunesmith.config import Setting
from tunesmith.errors import TunesmithError
from tunesmith.plan import DatasetPlan, ModelWish, Plan
from tunesmith.spec import options_of
from tunesmith.testing import TunerSuite
from tunesmith.testing.hand_plan import hand_plan
from tunesmith.testing.small_run import (
    SmallStore,
    small_losses,
    small_model,
    small_plan,
    small_plugins,
    small_rows,
    small_session,
)
from tunesmith.testing.spec_check import load
from tunesmith.testing.tiny_models import logits, tiny_batch, tiny_llama
from tunesmith_prompt_learning.counting import count_learning
from tunesmith_prompt_learning.options import MultitaskOptions, PrefixOptions, PromptOptions, PTuningOptions
from tunesmith_prompt_learning.plugin import SPECS, tunesmith_check_plan

BY_NAME = {spec.name: spec for spec in SPECS}
SIX = {"num_virtual_tokens": 6}


class PromptCase(TunerSuite):
    learning_rate = 0.1
    reload_tolerance = 1e-5  # a network that makes the prompt is saved as what it makes

    def learns(self, name: str) -> bool:
        return name.startswith("prompt_encoder.")


class TestPrompt(PromptCase):
    spec = BY_NAME["prompt"]
    options = (PromptOptions(**SIX, prompt_init="sample_vocab"),)


class TestPTuning(PromptCase):
    spec = BY_NAME["p_tuning"]
    options = (PTuningOptions(**SIX, p_tuning_hidden_size=32),)


class TestPTuningByLstm(PromptCase):
    spec = BY_NAME["p_tuning"]
    options = (PTuningOptions(**SIX, p_tuning_encoder="lstm", p_tuning_hidden_size=16, p_tuning_num_layers=1),)


class TestPrefix(PromptCase):
    spec = BY_NAME["prefix"]
    options = (PrefixOptions(**SIX),)


class TestPrefixByNetwork(PromptCase):
    spec = BY_NAME["prefix"]
    options = (PrefixOptions(**SIX, prefix_projection=True, prefix_hidden_size=16),)


class TestMultitask(PromptCase):
    spec = BY_NAME["multitask"]
    options = (MultitaskOptions(**SIX, multitask_num_tasks=2, multitask_task=1),)


def tuner(name: str, plan: Plan | None = None, **options: Any) -> Any:
    spec = BY_NAME[name]
    return load(spec)(plan or hand_plan(options_of(spec)(**{**SIX, **options})))


@pytest.mark.parametrize("name", BY_NAME)
def test_logits_are_those_of_the_tokens_that_were_given(name: str) -> None:
    model, batch = tuner(name).apply(tiny_llama()), tiny_batch()
    outputs = model(**batch, output_hidden_states=True)
    assert outputs.logits.shape[:2] == batch["input_ids"].shape
    assert {state.shape[1] for state in outputs.hidden_states} == {batch["input_ids"].shape[1]}
    mine = torch.nn.functional.cross_entropy(outputs.logits[:, :-1].flatten(0, 1), batch["labels"][:, 1:].flatten())
    assert mine.item() == pytest.approx(outputs.loss.item(), abs=1e-5)


@pytest.mark.parametrize("name", BY_NAME)
def test_it_generates_with_its_prompt(name: str) -> None:
    model, ids = tuner(name).apply(tiny_llama()).eval(), tiny_batch(rows=1)["input_ids"]
    said = model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=1, do_sample=False)
    with torch.no_grad():
        assert said[0, -1] == model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[0, -1].argmax()


@pytest.mark.parametrize("name", ["prompt", "p_tuning", "prefix"])
def test_peft_alone_reads_what_is_saved(name: str, tmp_path: Path) -> None:
    one = tuner(name)
    model = one.apply(tiny_llama()).eval()
    one.save(model, tmp_path)
    peft = PeftModel.from_pretrained(tiny_llama(), tmp_path)
    assert torch.allclose(logits(peft)[:, -12:], logits(model), atol=1e-5)


def test_tasks_have_prompts_of_their_own(tmp_path: Path) -> None:
    options = {"multitask_num_tasks": 2, "multitask_rank": 2}
    one = tuner("multitask", **options)
    model = one.apply(tiny_llama()).eval()
    torch.nn.init.normal_(model.prompt_encoder["default"].prefix_task_cols)
    one.save(model, tmp_path)
    again = tuner("multitask", **options).load(tiny_llama(), tmp_path, trainable=True).eval()
    other = tuner("multitask", **options, multitask_task=1).load(tiny_llama(), tmp_path, trainable=True).eval()
    assert torch.equal(logits(again), logits(model))
    assert not torch.allclose(logits(other), logits(model), atol=1e-3)
    used = tuner("multitask", **options, multitask_task=1).load(tiny_llama(), tmp_path, trainable=False)
    assert torch.allclose(logits(used), logits(other), atol=1e-5)


def test_a_prompt_starts_from_a_text(tmp_path: Path) -> None:
    small_model(tmp_path / "model")
    places = {"model_name_or_path": str(tmp_path / "model"), "cache_dir": None, "model_revision": "main", "hf_hub_token": None}
    plan = hand_plan(PromptOptions(num_virtual_tokens=4, prompt_init="text", prompt_init_text="one two three four"), **places)
    one = tuner("prompt", plan)
    model = one.apply(tiny_llama(vocab_size=512))
    table, prompt = model.get_input_embeddings().weight, model.prompt_encoder["default"].embedding.weight
    assert all((table == row).all(dim=1).any() for row in prompt)
    one.save(model, tmp_path / "saved")
    assert str(tmp_path) not in (tmp_path / "saved" / "adapter_config.json").read_text().replace(str(tmp_path / "model"), "")
    assert json.loads((tmp_path / "saved" / "adapter_config.json").read_text())["tokenizer_name_or_path"] is None


def test_a_finished_prompt_of_a_network_cannot_go_on(tmp_path: Path) -> None:
    one = tuner("p_tuning", p_tuning_hidden_size=8)
    one.save(one.apply(tiny_llama()), tmp_path)
    (tmp_path / "prompt_encoder.safetensors").unlink()
    with pytest.raises(TunesmithError, match="not the network that made it"):
        tuner("p_tuning", p_tuning_hidden_size=8).load(tiny_llama(), tmp_path, trainable=True)


@pytest.mark.parametrize("trainable", [True, False])
def test_a_prompt_of_another_model_is_refused(tmp_path: Path, trainable: bool) -> None:
    one = tuner("prompt")
    one.save(one.apply(tiny_llama()), tmp_path)
    with pytest.raises(TunesmithError, match="does not fit LlamaForCausalLM"):
        tuner("prompt").load(tiny_llama(hidden_size=32), tmp_path, trainable=trainable)
    with pytest.raises(TunesmithError, match="PROMPT_TUNING"):
        tuner("prefix").load(tiny_llama(), tmp_path, trainable=trainable)
    with pytest.raises(TunesmithError, match=r"adapter_config\.json is missing"):
        tuner("prompt").load(tiny_llama(), tmp_path / "nowhere", trainable=trainable)


@pytest.mark.parametrize("name", BY_NAME)
def test_a_resumed_run_is_the_uninterrupted_one(name: str, tmp_path: Path) -> None:
    def run(**keys: Any) -> list[float]:
        plugins = small_plugins(prompts="tunesmith_prompt_learning.plugin")
        given = {"finetuning_type": name, "max_steps": 6, "learning_rate": 0.1, **SIX, **keys}
        plan = small_plan(tmp_path, plugins, "small", picked={"tuners": name}, **given)
        opened = small_session(plan, plugins, SmallStore(small_rows(16)))
        opened.trainer.run(opened)
        return small_losses(opened)

    whole = run(save_strategy="steps", save_steps=3)
    assert run(resume_from_checkpoint=str(tmp_path / "out" / "checkpoint-3")) == whole


@pytest.mark.parametrize(
    "options", [PromptOptions(**SIX), PrefixOptions(**SIX), MultitaskOptions(**SIX, multitask_num_tasks=2)]
)
def test_the_estimate_counts_what_then_learns(options: Any) -> None:
    (name,) = (spec.name for spec in SPECS if options_of(spec) is type(options))
    base = tiny_llama()
    shapes = {weight: tuple(parameter.shape) for weight, parameter in base.named_parameters()}
    model = tuner(name, hand_plan(options)).apply(base)
    value = {"finetuning_type": name, **{item.name: getattr(options, item.name) for item in fields(options)}}
    learns = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    assert count_learning(shapes, value.__getitem__) == learns


# -- plans that cannot use them ------------------------------------------------------------------------------------------


def found(name: str, keys: dict[str, Any] | None = None, **options: Any) -> list[str]:
    plan = hand_plan(options_of(BY_NAME[name])(**options), picked={"tuners": name}, **(keys or {}))
    return [problem.what for problem in tunesmith_check_plan(plan)]


@pytest.mark.parametrize(
    ("name", "keys", "options", "said"),
    [
        ("prompt", {"packing": True}, {}, "packing puts several texts into one"),
        ("p_tuning", {"neat_packing": True}, {}, "neat_packing puts several texts into one"),
        ("prefix", {"disable_gradient_checkpointing": False}, {}, "cannot be learned with gradient checkpointing"),
        ("prompt", {}, {"prompt_init": "text"}, "prompt_init: text has no text"),
        ("prompt", {}, {"prompt_init_text": "hello"}, "prompt_init_text is not used"),
        ("multitask", {}, {"multitask_task": 1}, "multitask_task is 1, and multitask_num_tasks 1"),
    ],
)
def test_what_a_plan_can_know_it_says(name: str, keys: dict[str, Any], options: dict[str, Any], said: str) -> None:
    (what,) = found(name, keys, **options)
    assert said in what


def test_stages_that_score_or_generate_are_refused() -> None:
    plan = hand_plan(PromptOptions(), picked={"tuners": "prompt"})
    scored = replace(plan, models={"policy": ModelWish("policy", "m", head="score")})
    assert "cannot learn a score" in next(iter(tunesmith_check_plan(scored))).what
    prompts = replace(plan, datasets=(DatasetPlan("p", "train", "file", "alpaca", "prompt", {}, "."),))
    assert "generated while learning" in next(iter(tunesmith_check_plan(prompts))).what


def test_other_runs_are_none_of_their_business() -> None:
    assert found("prompt", {"packing": False}) == found("prefix", {"disable_gradient_checkpointing": True}) == []
    assert not list(tunesmith_check_plan(hand_plan(PromptOptions(), picked={"tuners": "lora"}, packing=True)))


@pytest.mark.parametrize("key", ["additional_target", "create_new_adapter"])
def test_what_only_other_tuners_do_beside_it_is_refused(key: str) -> None:
    plan = hand_plan(PromptOptions(), picked={"tuners": "prompt"})
    asked = replace(plan, unused={key: Setting(True, "run.yaml:3", "lora", given=True)})
    assert [problem.where for problem in tunesmith_check_plan(asked)] == ["run.yaml:3"]
    assert not list(tunesmith_check_plan(plan))
