"""The installed packages together: configurations trained, resumed and judged through the Python API, as users run them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tunesmith import api
from tunesmith.errors import ConfigError, TunesmithError


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model and a few sums."""
    from tunesmith.runtime.tiny import make_tiny

    folder = tmp_path_factory.mktemp("place")
    make_tiny("llama", folder / "model")
    rows = [{"instruction": f"What is {a} plus {b}?", "input": "", "output": f"{a + b}."} for a in range(6) for b in range(4)]
    (folder / "sums.json").write_text(json.dumps(rows))
    (folder / "dataset_info.json").write_text(json.dumps({"sums": {"file_name": "sums.json"}}))
    return folder


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


def config(place: Path, out: Path, **keys: Any) -> dict[str, Any]:
    return {
        "model_name_or_path": str(place / "model"),
        "dataset": "sums",
        "dataset_dir": str(place),
        "data_cache_dir": str(place / "cache"),
        "template": "llama3",
        "output_dir": str(out),
        "per_device_train_batch_size": 4,
        "learning_rate": 1e-3,
        "num_train_epochs": 2,
        "logging_steps": 1,
        "save_steps": 4,
        "disable_tqdm": True,
        **keys,
    }


def losses(out: Path) -> list[float]:
    history = json.loads((out / "trainer_state.json").read_text())["log_history"]
    return [entry["loss"] for entry in history if "loss" in entry]


@pytest.mark.parametrize(
    "keys",
    [
        {"finetuning_type": "lora", "lora_dropout": 0.1, "lora_rank": 4},
        {"finetuning_type": "full", "bf16": True},
        {"finetuning_type": "freeze", "freeze_trainable_layers": 1, "bf16": True},
        {"finetuning_type": "lora", "packing": True, "cutoff_len": 128, "per_device_train_batch_size": 1, "bf16": True},
    ],
    ids=["lora", "full", "freeze", "packed"],
)
def test_a_resumed_run_repeats_the_losses_exactly(place: Path, tmp_path: Path, keys: dict[str, Any]) -> None:
    api.train(config(place, tmp_path / "out", **keys))
    whole = losses(tmp_path / "out")
    assert whole[-1] < whole[0]
    start = str(tmp_path / "out" / "checkpoint-4")
    api.train(config(place, tmp_path / "out", **keys, resume_from_checkpoint=start))
    assert losses(tmp_path / "out") == whole


def test_the_batch_split_does_not_matter(place: Path, tmp_path: Path) -> None:
    found = []
    for size in (8, 1):
        out = tmp_path / str(size)
        keys = {"per_device_train_batch_size": size, "gradient_accumulation_steps": 8 // size, "finetuning_type": "full"}
        api.train(config(place, out, **keys))
        found.append(losses(out))
    assert found[0] == pytest.approx(found[1], abs=1e-4)


@pytest.mark.long
def test_two_processes_learn_what_one_does_and_resume_exactly(place: Path, tmp_path: Path) -> None:
    keys = {"finetuning_type": "lora", "lora_dropout": 0.0, "logging_steps": 3}
    api.train(config(place, tmp_path / "one", **keys, per_device_train_batch_size=4))
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "-m", "tunesmith.cli.main", "train"]
    found = []
    for resume in ({}, {"resume_from_checkpoint": str(tmp_path / "two" / "checkpoint-4")}):
        file = tmp_path / "run.json"
        file.write_text(json.dumps(config(place, tmp_path / "two", **keys, **{"per_device_train_batch_size": 2, **resume})))
        subprocess.run([*command, str(file)], check=True, timeout=300, env={**os.environ, "OMP_NUM_THREADS": "1"})
        found.append(losses(tmp_path / "two"))
    assert found[0] == pytest.approx(losses(tmp_path / "one"), abs=1e-4)
    assert found[0] == found[1]


def test_an_adapter_goes_on_learning(place: Path, tmp_path: Path) -> None:
    keys = {"finetuning_type": "lora", "num_train_epochs": 4, "learning_rate": 1e-2}
    api.train(config(place, tmp_path / "first", **keys))
    api.train(config(place, tmp_path / "second", **keys, adapter_name_or_path=str(tmp_path / "first")))
    assert losses(tmp_path / "second")[0] < 0.9 * losses(tmp_path / "first")[0]
    assert (tmp_path / "second" / "adapter_model.safetensors").is_file()


def test_a_second_run_into_the_same_folder_is_refused(place: Path, tmp_path: Path) -> None:
    api.train(config(place, tmp_path / "out", max_steps=1))
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")}
    with pytest.raises(ConfigError, match="already holds a run"):
        api.train(config(place, tmp_path / "out", max_steps=1))
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")} == before


@pytest.mark.parametrize(
    ("keys", "changed"),
    [
        ({"default_system": "Be brief."}, "template"),
        ({"lora_rank": 2}, "tuner"),
        ({"cutoff_len": 99}, "data"),
        ({"mask_history": True}, "data"),
    ],
)
def test_drift_is_named(place: Path, tmp_path: Path, keys: dict[str, Any], changed: str) -> None:
    keys = {"resume_from_checkpoint": True, "finetuning_type": "lora", **keys}
    api.train(config(place, tmp_path / "out", finetuning_type="lora", max_steps=4))
    with pytest.raises(TunesmithError, match=f"cannot be continued: {changed} changed since"):
        api.train(config(place, tmp_path / "out", **keys))


def test_batch_says_of_a_finished_run_what_predicting_said(place: Path, tmp_path: Path) -> None:
    """One renderer, one sampling: the model in training's memory and the engine over its folder."""
    out, answered = tmp_path / "out", {"do_sample": False, "max_new_tokens": 8}
    api.train(
        config(place, out, eval_dataset="sums", do_train=True, do_predict=True, finetuning_type="lora", lora_rank=4, **answered)
    )
    predicted = [json.loads(line)["predict"] for line in (out / "generated_predictions.jsonl").read_text().splitlines()]
    rows = json.loads((place / "sums.json").read_text())
    questions, answers = tmp_path / "questions.jsonl", tmp_path / "answers.jsonl"
    questions.write_text("".join(json.dumps({"prompt": row["instruction"]}) + "\n" for row in rows))
    words = [f"{key}={value}" for key, value in answered.items()]
    command = ["batch", questions, answers, f"model_name_or_path={out}", "template=llama3", *words]
    subprocess.run([sys.executable, "-m", "tunesmith.cli.main", *command], check=True)
    assert [json.loads(line)["text"] for line in answers.read_text().splitlines()] == predicted
    assert len(set(predicted)) > 1 or predicted[0]
