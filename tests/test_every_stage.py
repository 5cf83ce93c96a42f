"""Stages with whole weights, an adapter and one over four bits: they learn, are evaluated, and the best weights are kept."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tunesmith import api

Keys = dict[str, Any]

TUNERS: dict[str, Keys] = {
    "full": {"finetuning_type": "full", "learning_rate": 1e-3},
    "lora": {"finetuning_type": "lora", "learning_rate": 1e-2},
    "qlora": {
        "finetuning_type": "lora",
        "quantization_bit": 4,
        "quantization_method": "bitsandbytes",
        "learning_rate": 1e-2,
    },
}
ANSWERING: Keys = {"max_new_tokens": 4, "max_steps": 2, "per_device_train_batch_size": 8, "per_device_eval_batch_size": 8}
REWARDED: Keys = {**ANSWERING, "reward_funcs": "length", "dataset": "prompts", "eval_dataset": "prompts"}
PAIRS: Keys = {"dataset": "pairs", "eval_dataset": "pairs"}
STAGES: dict[str, Keys] = {
    "pt": {"dataset": "texts", "eval_dataset": "texts", "cutoff_len": 32},
    "sft": {"dataset": "rows", "eval_dataset": "rows"},
    "rm": PAIRS,
    "dpo": PAIRS,
    # At the rate of the others it jumps about, over whole weights as over few bits.
    "kto": {"dataset": "liked", "eval_dataset": "liked", "learning_rate": 3e-3, "max_steps": 16},
    "ppo": REWARDED,
    "grpo": REWARDED,
    "rloo": REWARDED,
    "distill": {**ANSWERING, "dataset": "prompts", "eval_dataset": "prompts"},
}
#: What a stage says of how well it went: a measure that is to grow, or the loss that is to fall.
MEASURES = {"rm": "eval_accuracy", "dpo": "eval_rewards/margins", "kto": "eval_rewards/margins"}
QUICK = (("sft", "qlora"), ("rm", "qlora"), ("grpo", "full"), ("grpo", "qlora"))
MORE = tuple((stage, tuner) for stage in STAGES for tuner in TUNERS if (stage, tuner) not in QUICK)
REWARDS = ("ppo", "grpo", "rloo")
DRAWN = (*REWARDS, "distill")
#: What each stage needs to learn something from answers that are drawn, within 60 steps.
LEARNING: dict[str, Keys] = {
    "ppo": {"ppo_epochs": 1, "ppo_value_weight": 0.01, "ppo_kl_coef": 0.01, "per_device_train_batch_size": 32, "lora_rank": 16},
    "grpo": {"num_generations": 4, "beta": 0.001, "per_device_train_batch_size": 32},
    "rloo": {"num_generations": 4, "beta": 0.001},
    "distill": {"per_device_train_batch_size": 8, "max_steps": 30},
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Small models of the width that kernels want, and rows for every stage."""
    from tunesmith.runtime.tiny import make_tiny

    folder = tmp_path_factory.mktemp("place")
    make_tiny("llama", folder / "model", hidden=128, intermediate=256, layers=2)
    make_tiny("llama", folder / "teacher", hidden=128, intermediate=256, layers=2, seed=5)
    asked = [f"Say {word}." for word in ("one", "two", "three", "four", "five", "six", "seven", "eight")]
    rows = [{"instruction": one, "output": f"{one[4:-1]} indeed"} for one in asked]
    data = {
        "rows": rows,
        "texts": [{"text": f"{word} {asked[0]}"} for word in asked],
        "liked": [{**row, "kto_tag": at % 2 == 0} for at, row in enumerate(rows)],
        "prompts": [{"instruction": one} for one in asked],
        "pairs": [{"instruction": one, "chosen": "GLADLY", "rejected": "never"} for one in asked],
    }
    for name, made in data.items():
        (folder / f"{name}.json").write_text(json.dumps(made))
    info: dict[str, Any] = {name: {"file_name": f"{name}.json"} for name in data}
    info["pairs"] |= {"ranking": True, "columns": {"prompt": "instruction", "chosen": "chosen", "rejected": "rejected"}}
    info["texts"]["columns"] = {"prompt": "text"}
    info["liked"]["columns"] = {"prompt": "instruction", "response": "output", "kto_tag": "kto_tag"}
    (folder / "dataset_info.json").write_text(json.dumps(info))
    return folder


@pytest.mark.parametrize(("stage", "tuner"), [*QUICK, *(pytest.param(*case, marks=pytest.mark.long) for case in MORE)])
def test_it_learns_is_evaluated_and_keeps_the_best(
    stage: str, tuner: str, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is measured gets better, or at least is measured where answers are drawn; the best checkpoint is the best one."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    drawn = stage in DRAWN
    by = "eval_reward" if stage in REWARDS else "eval_loss"
    keys: Keys = {
        **{"model_name_or_path": str(place / "model"), "dataset_dir": str(place), "data_cache_dir": str(place / "cache")},
        **{"output_dir": str(tmp_path), "template": "llama3", "backend": "cpu", "stage": stage, "do_train": True},
        **{"per_device_train_batch_size": 4, "per_device_eval_batch_size": 4, "max_steps": 8, "num_train_epochs": 9},
        **{"eval_strategy": "steps", "save_strategy": "steps", "logging_steps": 1, "disable_tqdm": True},
        **{"lr_scheduler_type": "constant", "load_best_model_at_end": True, "metric_for_best_model": by},
        **{"greater_is_better": stage in REWARDS, "eval_steps": 1 if drawn else 4, "save_steps": 1 if drawn else 4},
        **({"teacher_model": str(place / "teacher")} if stage == "distill" else {}),
        **{**TUNERS[tuner], **STAGES[stage]},
    }
    api.train(keys)
    state = json.loads((tmp_path / "trainer_state.json").read_text())
    judged = {entry["step"]: entry[by] for entry in state["log_history"] if by in entry}
    assert len(judged) >= 2
    best = (max if stage in REWARDS else min)(judged.values())
    assert state["best_metric"] == pytest.approx(best)
    assert judged[state["best_global_step"]] == pytest.approx(best)
    if not drawn:
        losses = [entry["loss"] for entry in state["log_history"] if "loss" in entry]
        assert losses[-1] < 0.95 * losses[0], losses
    if stage in MEASURES:
        found = [entry[MEASURES[stage]] for entry in state["log_history"] if MEASURES[stage] in entry]
        assert found[-1] > 0, found


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Prompts, a toy reward, a model that can get more of it, and a teacher."""
    from tunesmith.runtime.tiny import make_tiny
    from tunesmith.testing.small_prompts import prompts_home

    folder = prompts_home(tmp_path_factory.mktemp("home"), hidden=128, intermediate=256, layers=2)
    make_tiny("qwen3", folder / "teacher", hidden=128, intermediate=256, layers=2, seed=5)
    return folder


@pytest.mark.long
@pytest.mark.parametrize("tuner", TUNERS)
@pytest.mark.parametrize("stage", DRAWN)
def test_answers_get_better(stage: str, tuner: str, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """More reward than at the start, clearly above chance; or nearer to the teacher."""
    from tunesmith import launch
    from tunesmith.plugins import Plugins
    from tunesmith.testing.small_prompts import logged, plan_maker

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    plugins = Plugins(local=home)
    wanted = {"teacher_model": str(home / "teacher")} if stage == "distill" else {"reward_funcs": "singing"}
    given = {"max_steps": 60, "num_train_epochs": 99, "max_new_tokens": 4, "per_device_train_batch_size": 16, "do_sample": True}
    make = plan_maker(home, plugins, stage=stage, output_dir=str(tmp_path), **wanted, **{**given, **LEARNING[stage]})
    rate = {"full": 3e-3}.get(tuner, 2e-2 if stage == "ppo" else 1e-2)
    launch.train(make(**{**TUNERS[tuner], "learning_rate": rate}), plugins)
    seen = logged(tmp_path, "loss" if stage == "distill" else "reward")
    first, last = sum(seen[:5]) / 5, sum(seen[-5:]) / 5
    assert last < 0.7 * first if stage == "distill" else last > first + 0.15, seen
