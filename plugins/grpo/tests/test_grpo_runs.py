"""From a configuration to a policy that gets more reward, by trl, on prompts that our renderer made."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file
from tunesmith import TunesmithError, launch, planning, settings
from tunesmith.errors import ConfigError
from tunesmith.plan import Plan
from tunesmith.plugins import Plugins
from tunesmith.runtime.tiny import make_tiny

Make = Callable[..., Plan]
#: A toy reward: the share of an answer's characters that are vowels, n or t. Chance gives about a tenth.
LOCAL = """
from tunesmith import RewardSpec, hookimpl
from tunesmith.contracts import Reward

TUNESMITH_API = (1, 0)


class Singing(Reward):
    def __init__(self, plan):
        self.plan = plan

    def score(self, prompts, completions, extras):
        assert all(row["level"] == 3 and one.turns[-1].text.startswith("Give") for one, row in zip(prompts, extras))
        return [sum(letter in "aeioutn" for letter in turn.text) / max(len(turn.text), 1) for turn in completions]


@hookimpl
def tunesmith_rewards():
    return [RewardSpec("singing", f"{__name__}:Singing", "The share of vowels, n and t.")]
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model whose words lie far enough apart to be told apart, and prompts."""
    folder = tmp_path_factory.mktemp("home")
    make_tiny("qwen3", folder / "model")
    weights = folder / "model" / "model.safetensors"
    tensors = {name: value * 8 if "embed" in name or "lm_head" in name else value for name, value in load_file(weights).items()}
    save_file(tensors, weights, {"format": "pt"})
    (folder / "tunesmith_local.py").write_text(LOCAL)
    (folder / "prompts.json").write_text(json.dumps([{"instruction": f"Give me {n}.", "level": 3} for n in range(8)]))
    pairs = [{"instruction": f"Give me {n}.", "chosen": "GLADLY", "rejected": "never"} for n in range(8)]
    (folder / "pairs.json").write_text(json.dumps(pairs))
    columns = {"prompt": "instruction", "chosen": "chosen", "rejected": "rejected"}
    info = {"prompts": {"file_name": "prompts.json"}, "pairs": {"file_name": "pairs.json", "ranking": True, "columns": columns}}
    (folder / "dataset_info.json").write_text(json.dumps(info))
    return folder


@pytest.fixture(scope="module")
def plugins(home: Path) -> Plugins:
    return Plugins(local=home)


@pytest.fixture(scope="module")
def make(plugins: Plugins, home: Path) -> Make:
    def make_plan(**keys: Any) -> Plan:
        given = {"model_name_or_path": str(home / "model"), "dataset_dir": str(home), "dataset": "prompts", "template": "qwen3"}
        given |= {"stage": "grpo", "backend": "cpu", "data_cache_dir": str(home / "cache"), "verbosity": "error"}
        given |= {"disable_gradient_checkpointing": True, "save_strategy": "no", "disable_tqdm": True, "logging_steps": 1}
        given |= {
            "per_device_train_batch_size": 16,
            "learning_rate": 1e-2,
            "lr_scheduler_type": "constant",
            "max_new_tokens": 4,
        }
        return planning.make(settings.read(plugins, {"do_train": True, **given, **keys}, environ={}), plugins, "train")

    return make_plan


def history(folder: Path) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = json.loads((folder / "trainer_state.json").read_text())["log_history"]
    return entries


def logged(folder: Path, name: str) -> list[float]:
    return [entry[name] for entry in history(folder) if name in entry]


@pytest.mark.parametrize(
    ("stage", "kind", "keys"),
    [
        ("grpo", "full", {"learning_rate": 3e-3}),
        ("grpo", "lora", {"beta": 0.001}),
        ("rloo", "lora", {"beta": 0.001, "num_generations": 4}),
        ("rloo", "full", {"learning_rate": 3e-3, "beta": 0.001}),
    ],
)
def test_the_reward_rises_clearly_above_chance(
    stage: str, kind: str, keys: dict[str, Any], make: Make, plugins: Plugins, home: Path
) -> None:
    folder = home / f"{stage}-{kind}"
    given = {"reward_funcs": "singing", "max_steps": 40, "num_train_epochs": 99, **keys}
    launch.train(make(stage=stage, finetuning_type=kind, output_dir=str(folder), **given), plugins)
    rated = logged(folder, "reward")
    assert sum(rated[-5:]) / 5 > sum(rated[:3]) / 3 + 0.12, rated
    assert {"rewards/singing/mean", "completions/mean_length"} <= set(history(folder)[0])
    assert ("kl" in history(folder)[0]) == bool(keys.get("beta"))
    assert not list(folder.rglob("*.bin")) + list(folder.rglob("*.pt"))


def test_trl_starts_from_the_ids_that_our_renderer_made(make: Make, plugins: Plugins, home: Path) -> None:
    from tunesmith.data.flow import prepare
    from tunesmith.runtime.session import open_session

    plan = make(output_dir=str(home / "ids"), reward_funcs="singing", default_system="Be brief.")
    session = open_session(plan, plugins, prepare(plan, plugins))
    trainer = session.trainer.trainer(session)  # type: ignore[attr-defined]
    ids, _, _ = trainer._tokenize_prompts([trainer.train_dataset[3]["prompt"]])
    asked = trainer.book.prompt("train/3").conversation
    text = session.renderer.render(asked, generation_prompt=True).text  # type: ignore[union-attr]
    session.close()
    assert session.tokenizer.decode(ids[0]) == text
    assert "Be brief." in text
    assert text.endswith("<|im_start|>assistant\n") or "<think>" in text


def test_a_resumed_run_repeats_the_losses_exactly(make: Make, plugins: Plugins, home: Path) -> None:
    """In the middle of the second epoch, with answers that are drawn."""
    folder = home / "resumed"
    keys = {"reward_funcs": "singing", "output_dir": str(folder), "num_train_epochs": 2, "save_strategy": "steps"}
    keys |= {"save_steps": 5, "finetuning_type": "lora", "num_generations": 8, "learning_rate": 1e-3}
    launch.train(make(**keys), plugins)
    whole = (logged(folder, "loss"), logged(folder, "reward"))
    assert len(whole[0]) == 8
    launch.train(make(resume_from_checkpoint=str(folder / "checkpoint-5"), **keys), plugins)
    assert (logged(folder, "loss"), logged(folder, "reward")) == whole


def test_a_reward_adapter_rates_beside_functions(make: Make, plugins: Plugins, home: Path) -> None:
    rater = home / "rater"
    launch.train(make(stage="rm", dataset="pairs", output_dir=str(rater), max_steps=4), plugins)
    keys = {"reward_model": str(rater), "reward_funcs": "singing", "reward_weights": [0.5], "max_steps": 1}
    keys |= {"eval_dataset": "prompts", "do_eval": True, "per_device_eval_batch_size": 8}
    outcome = launch.train(make(output_dir=str(home / "both"), **keys), plugins)
    first = history(home / "both")[0]
    parts = 0.5 * first["rewards/singing/mean"] + first["rewards/model/mean"]
    assert first["reward"] == pytest.approx(parts, abs=1e-4)
    assert "eval_reward" in outcome.metrics or logged(home / "both", "eval_reward")


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({}, "needs a reward model"),
        ({"reward_funcs": "singing", "num_generations": 6}, "does not divide"),
        ({"reward_funcs": "singing", "do_sample": False}, "have to differ"),
        ({"reward_funcs": "singing", "num_beams": 2}, "num_beams"),
        ({"reward_funcs": "singing", "loss_type": "gspo"}, "loss_type"),
        ({"reward_funcs": "singing", "use_vllm": True}, "use_vllm"),
        ({"reward_funcs": "singing", "streaming": True, "max_steps": 2}, "streaming"),
        ({"reward_model": "http://127.0.0.1:1/", "reward_model_type": "api"}, "stage: ppo alone"),
    ],
)
def test_what_cannot_work_is_refused_in_the_plan(make: Make, home: Path, keys: dict[str, Any], words: str) -> None:
    with pytest.raises((ConfigError, TunesmithError), match=words):
        make(output_dir=str(home / "refused"), **keys).check_ready()


def test_the_arguments_have_the_defaults_that_the_plan_shows(make: Make, home: Path) -> None:
    from transformers import TrainingArguments
    from tunesmith_grpo.stages import GrpoStage

    plan = make(output_dir=str(home / "e"), reward_funcs="singing", epsilon=0.3)
    made = GrpoStage(plan).arguments_class()(output_dir="x", use_cpu=True, per_device_train_batch_size=8)
    plain = TrainingArguments(output_dir="x", use_cpu=True)
    for name in ("bf16", "learning_rate", "gradient_checkpointing", "logging_steps"):
        assert getattr(made, name) == getattr(plain, name), name
    assert (made.epsilon, made.max_completion_length, made.temperature) == (0.3, 4, 1.0)


@pytest.mark.parametrize("kind", ["full", "lora"])
def test_a_student_learns_from_a_teacher(kind: str, make: Make, plugins: Plugins, home: Path) -> None:
    """The teacher has other random weights; the divergence from it falls by a good part."""
    teacher = home / "teacher"
    if not teacher.exists():
        make_tiny("qwen3", teacher, seed=5)
    folder = home / f"distilled-{kind}"
    keys = {"stage": "distill", "teacher_model": str(teacher), "max_steps": 30, "num_train_epochs": 99}
    keys |= {"learning_rate": 1e-2, "per_device_train_batch_size": 8}
    launch.train(make(finetuning_type=kind, output_dir=str(folder), **keys), plugins)
    losses = logged(folder, "loss")
    assert sum(losses[-3:]) < 0.7 * sum(losses[:3]), losses


def test_too_few_prompts_for_a_round_are_said(make: Make, plugins: Plugins, home: Path) -> None:
    plan = make(output_dir=str(home / "few"), reward_funcs="singing", gradient_accumulation_steps=8)
    with pytest.raises(TunesmithError, match="8 prompts are too few"):
        launch.train(plan, plugins)


def test_a_model_has_nothing_to_learn_from_itself(make: Make, home: Path) -> None:
    keys = {"stage": "distill", "teacher_model": str(home / "model"), "finetuning_type": "lora"}
    with pytest.raises(ConfigError, match="nothing to learn from itself"):
        make(output_dir=str(home / "self"), **keys)
