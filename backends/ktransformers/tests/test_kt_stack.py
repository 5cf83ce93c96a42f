"""Whole runs in the stack ``ktransformers``: training, resume and chat, beside the same runs without it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tunesmith_ktransformers import processor

ONLY = ("ktransformers", "sft", "lora", "alpaca", "chat-templates", "cpu", "chat", "huggingface")
BUILD = processor.best_build(processor.read_flags())
pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(BUILD not in processor.TRAINING_BUILDS, reason=f"kt-kernel has no backward here ({BUILD})"),
]


def run(folder: Path, *words: str, given: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tunesmith.cli.main", "--only", ",".join(ONLY), *words]
    quiet = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=quiet, cwd=folder, input=given)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Needs a package index, or a stack that was made before; 2 GB of disk."""
    made = run(tmp_path_factory.mktemp("stack"), "stack", "create", "ktransformers")
    assert made.returncode == 0, made.stderr


def written(folder: Path, family: str) -> None:
    from tunesmith.runtime.tiny import make_tiny

    make_tiny(family, folder / "model")
    words = ("one", "two", "three", "four", "five", "six", "seven", "eight")
    rows = [{"instruction": f"Say {word}.", "output": word} for word in words]
    (folder / "rows.json").write_text(json.dumps(rows))
    (folder / "dataset_info.json").write_text(json.dumps({"rows": {"file_name": "rows.json"}}))


def keys(**more: Any) -> dict[str, Any]:
    given = {"model_name_or_path": "model", "dataset": "rows", "dataset_dir": ".", "template": "auto", "stage": "sft"}
    given |= {"finetuning_type": "lora", "lora_target": "all", "lora_target_parameters": "all", "bf16": True, "backend": "cpu"}
    given |= {"full_determinism": True, "kt_config": {"kt_num_threads": 1}}  # its threads add up in no certain order
    given |= {"max_steps": 6, "save_steps": 3, "logging_steps": 1, "learning_rate": 1e-2, "lr_scheduler_type": "constant"}
    return {**given, "per_device_train_batch_size": 4, "seed": 1, **more}


def trained(folder: Path, name: str, **more: Any) -> list[float]:
    """The losses of a run; its plan says what of the keys is given."""
    (folder / f"{name}.yaml").write_text(json.dumps(keys(output_dir=name, **more)))
    done = run(folder, "train", f"{name}.yaml")
    assert done.returncode == 0, done.stderr
    assert ("running in the stack ktransformers" in done.stderr) is more["use_kt"]
    history = json.loads((folder / name / "trainer_state.json").read_text())["log_history"]
    return [entry["loss"] for entry in history if "loss" in entry]


@pytest.mark.parametrize("family", ["qwen3-moe", "deepseek-v3"])
def test_a_run_learns_resumes_and_answers_as_it_does_without(family: str, stack: None, tmp_path: Path) -> None:
    written(tmp_path, family)
    with_kt, without = (trained(tmp_path, name, use_kt=name == "kt") for name in ("kt", "torch"))
    assert len(with_kt) == 6
    assert with_kt[-1] < with_kt[0] - 0.2
    assert with_kt == pytest.approx(without, rel=0.01)
    whole = (tmp_path / "kt" / "adapter_model.safetensors").read_bytes()
    shutil.rmtree(tmp_path / "kt" / "checkpoint-6")
    again = trained(tmp_path, "kt", use_kt=True, resume_from_checkpoint=True)
    assert again == with_kt
    assert (tmp_path / "kt" / "adapter_model.safetensors").read_bytes() == whole
    said = []
    for kt in ("true", "false"):
        words = ("adapter_name_or_path=kt", "max_new_tokens=6", "do_sample=false", f"use_kt={kt}")
        done = run(tmp_path, "chat", "kt.yaml", *words, "--json", given="Say one.\n")
        assert done.returncode == 0, done.stderr
        said.append(json.loads(done.stdout)["text"])
    assert said[0] == said[1]
