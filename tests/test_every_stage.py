"""Stages with whole weights and with an adapter over four bits: they learn, are evaluated, and the best weights are kept."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tunesmith import api

Keys = dict[str, Any]

TUNERS: dict[str, Keys] = {
    "full": {"finetuning_type": "full", "learning_rate": 1e-3},
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
    "sft": {"dataset": "rows", "eval_dataset": "rows"},
    "rm": PAIRS,
    "dpo": PAIRS,
    "ppo": REWARDED,
    "grpo": REWARDED,
    "distill": {**ANSWERING, "dataset": "prompts", "eval_dataset": "prompts"},
}
#: What a stage says of how well it went: a measure that is to grow, or the loss that is to fall.
MEASURES = {"rm": "eval_accuracy", "dpo": "eval_rewards/margins"}
QUICK = (("sft", "qlora"), ("rm", "qlora"), ("grpo", "full"), ("grpo", "qlora"))
MORE = (("sft", "full"), ("rm", "full"), ("dpo", "qlora"), ("ppo", "full"), ("ppo", "qlora"), ("distill", "qlora"))
REWARDS = ("ppo", "grpo")


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
        "prompts": [{"instruction": one} for one in asked],
        "pairs": [{"instruction": one, "chosen": "GLADLY", "rejected": "never"} for one in asked],
    }
    for name, made in data.items():
        (folder / f"{name}.json").write_text(json.dumps(made))
    info: dict[str, Any] = {name: {"file_name": f"{name}.json"} for name in data}
    info["pairs"] |= {"ranking": True, "columns": {"prompt": "instruction", "chosen": "chosen", "rejected": "rejected"}}
    (folder / "dataset_info.json").write_text(json.dumps(info))
    return folder


@pytest.mark.parametrize(("stage", "tuner"), [*QUICK, *(pytest.param(*case, marks=pytest.mark.long) for case in MORE)])
def test_it_learns_is_evaluated_and_keeps_the_best(
    stage: str, tuner: str, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is measured gets better, or at least is measured where answers are drawn; the best checkpoint is the best one."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    drawn = stage in (*REWARDS, "distill")
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
