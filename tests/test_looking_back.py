"""Runs are listed, drawn and done again: real ones, by the command line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from tunesmith.cli.main import main

WORDS = [
    "template=qwen3",
    "dataset=sums",
    "max_steps=4",
    "logging_steps=1",
    "disable_tqdm=true",
    "lora_rank=2",
    "save_strategy=no",
]


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model, data and one finished run, ``saves/one``."""
    from tunesmith.runtime.tiny import make_tiny

    folder = tmp_path_factory.mktemp("desk")
    make_tiny("qwen3", folder / "model")
    rows = [{"instruction": f"What is {a} plus {b}?", "output": f"{a + b}."} for a in range(4) for b in range(4)]
    (folder / "sums.json").write_text(json.dumps(rows))
    (folder / "dataset_info.json").write_text(json.dumps({"sums": {"file_name": "sums.json"}}))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert train(folder, "saves/one") == 0
    return folder


@pytest.fixture(autouse=True)
def at_the_desk(desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(desk)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


def train(desk: Path, out: str, *more: str) -> int:
    places = ["model_name_or_path=model", "dataset_dir=.", "data_cache_dir=cache", f"output_dir={out}"]
    return main(["train", *places, *WORDS, *more])


def test_a_run_is_listed_with_its_loss(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["runs", "--json"]) == 0
    found = {run["folder"]: run for run in json.loads(capsys.readouterr().out)}
    run = found["saves/one"]
    assert (run["status"], run["step"]) == ("finished", 4)
    assert run["loss"] == json.loads((desk / "saves/one/trainer_state.json").read_text())["log_history"][3]["loss"]


def test_a_run_that_fails_says_so(desk: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert (
        train(desk, "failed/run", "optim=adamw_torch", "val_size=2", "eval_strategy=steps", "metric_for_best_model=nothing")
        == 2
    )
    assert main(["runs", "failed", "--json"]) == 0
    run = json.loads(capfd.readouterr().out)[0]
    assert run["status"] == "failed"
    assert "metric_for_best_model" in run["ended_by"]


def test_done_again_it_has_the_same_losses(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["reproduce", "saves/one"]) == 0
    assert "4 losses compared: largest difference 0" in capsys.readouterr().out


def test_other_data_are_named_and_the_losses_lie_apart(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kept = (desk / "sums.json").read_text()
    try:
        (desk / "sums.json").write_text(kept.replace("plus", "minus"))
        assert main(["reproduce", "saves/one", "--out", "saves/other"]) == 1
    finally:
        (desk / "sums.json").write_text(kept)
        shutil.rmtree(desk / "saves/other")
    assert "fingerprints: data was" in capsys.readouterr().out


@pytest.mark.parametrize(("file", "begins"), [("a.png", b"\x89PNG"), ("a.svg", b"<?xml")])
def test_a_curve_is_drawn(desk: Path, tmp_path: Path, file: str, begins: bytes) -> None:
    assert main(["plot", "saves/one", "--out", str(tmp_path / file)]) == 0
    assert (tmp_path / file).read_bytes().startswith(begins)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["saves/one", "--measure", "lose"], "Did you mean 'loss'?"),
        (["saves/one", "--out", "a.gif"], "neither PNG nor SVG"),
        (["saves/none"], "holds no run"),
    ],
)
def test_what_cannot_be_drawn_is_told(words: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plot", *words]) == 2
    assert told in capsys.readouterr().err
