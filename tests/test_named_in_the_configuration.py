"""Callbacks and metrics of a plugin, named in a configuration, are part of the run; a wrong name has the nearest."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tunesmith.cli.main import main

PLUGIN = """
from pathlib import Path
from transformers import TrainerCallback
from tunesmith import CallbackSpec, MetricSpec, hookimpl

TUNESMITH_API = (1, 0)


class Diary(TrainerCallback):
    def __init__(self, plan):
        self.file = Path(plan["output_dir"], "diary.txt")

    def on_step_end(self, args, state, control, **kwargs):
        self.file.parent.mkdir(exist_ok=True)
        with self.file.open("a") as stream:
            stream.write(f"{state.global_step}\\n")


class Lengths:
    def __init__(self, plan):
        pass

    def compute(self, predictions, labels):
        return {"label_length": sum(map(len, labels)) / len(labels)}


@hookimpl
def tunesmith_callbacks():
    return [CallbackSpec("diary", "tunesmith_local:Diary", "Writes down every step.")]


@hookimpl
def tunesmith_metrics():
    return [MetricSpec("lengths", "tunesmith_local:Lengths", "How long answers are.")]
"""
CONFIG = """
model_name_or_path: model
dataset: rows
eval_dataset: rows
dataset_dir: .
template: chatml
output_dir: out
max_steps: 2
lora_rank: 2
save_strategy: "no"
do_train: true
do_predict: true
predict_with_generate: true
max_new_tokens: 2
"""


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    from tunesmith.runtime.tiny import make_tiny

    make_tiny("qwen3", tmp_path / "model")
    (tmp_path / "rows.jsonl").write_text('{"instruction": "Say one.", "output": "one"}\n' * 2)
    (tmp_path / "dataset_info.json").write_text('{"rows": {"file_name": "rows.jsonl"}}')
    (tmp_path / "run.yaml").write_text(CONFIG)
    (tmp_path / "tunesmith_local.py").write_text(PLUGIN)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_what_is_named_takes_part(desk: Path) -> None:
    assert main(["train", "run.yaml", "callbacks=diary", "metrics=lengths", "data_cache_dir=cache"]) == 0
    assert (desk / "out/diary.txt").read_text().split() == ["1", "2"]
    assert json.loads((desk / "out/predict_results.json").read_text())["predict_label_length"] == 3.0


@pytest.mark.parametrize(("word", "told"), [("callbacks=dairy", "'diary'"), ("metrics=length", "'lengths'")])
def test_a_wrong_name_has_the_nearest(desk: Path, capsys: pytest.CaptureFixture[str], word: str, told: str) -> None:
    assert main(["train", "run.yaml", word]) == 2
    assert f"Did you mean {told}?" in capsys.readouterr().err
    assert not (desk / "out").exists()
