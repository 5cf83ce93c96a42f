"""Memory is estimated over batch size and length, and a batch size that fits is picked from that, aloud."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tunesmith.cli.main import main
from tunesmith.run_record import RunRecord, this_process


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tunesmith.runtime.tiny import make_tiny

    folder = tmp_path_factory.mktemp("desk")
    make_tiny("qwen3", folder / "model")
    (folder / "rows.jsonl").write_text('{"instruction": "a", "output": "b"}\n')
    (folder / "pairs.jsonl").write_text('{"instruction": "a", "chosen": "b", "rejected": "c"}\n')
    sides = {"prompt": "instruction", "chosen": "chosen", "rejected": "rejected"}
    pairs = {"file_name": "pairs.jsonl", "ranking": True, "columns": sides}
    (folder / "dataset_info.json").write_text(json.dumps({"rows": {"file_name": "rows.jsonl"}, "pairs": pairs}))
    lines = ["model_name_or_path: model", "dataset: rows", "dataset_dir: .", "template: qwen3", "output_dir: out"]
    (folder / "run.yaml").write_text("\n".join(lines))
    return folder


@pytest.fixture(autouse=True)
def at_the_desk(desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(desk)


def with_memory(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    monkeypatch.setattr("tunesmith.planning.batch_size.device_memory", lambda draft: size)


def test_every_cell_is_the_plan_of_its_keys(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["run.yaml", "--batch", "1,4", "--length", "128,512", "--vary", "finetuning_type=lora,full", "--json"]
    assert main(["estimate", *words]) == 0
    cells = json.loads(capsys.readouterr().out)
    assert len(cells) == 8
    keys = ["per_device_train_batch_size=4", "cutoff_len=512", "finetuning_type=full"]
    assert main(["plan", "run.yaml", *keys, "--json"]) == 0
    parts = json.loads(capsys.readouterr().out)["estimate"]["parts"]
    (cell,) = [one for one in cells if [f"{key}={one[key]}" for key in (w.partition("=")[0] for w in keys)] == keys]
    assert cell["bytes"] == sum(parts.values())


def test_a_run_that_is_finished_can_be_estimated(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (desk / "done" / "checkpoint-1").mkdir(parents=True)
    assert main(["plan", "run.yaml", "output_dir=done"]) == 2
    assert "done already holds a run" in capsys.readouterr().err
    assert main(["estimate", "run.yaml", "output_dir=done", "--batch", "1", "--length", "128"]) == 0


def test_a_run_that_goes_on_can_be_estimated(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (desk / "going").mkdir()
    (desk / "going/run.json").write_text(
        RunRecord(status="running", started="2026-01-01T00:00:00+00:00", **this_process()).to_json()
    )
    assert main(["plan", "run.yaml", "output_dir=going"]) == 2
    assert "is being written by process" in capsys.readouterr().err
    assert main(["estimate", "run.yaml", "output_dir=going", "--batch", "1", "--length", "128"]) == 0


def test_both_answers_of_a_pair_count(capsys: pytest.CaptureFixture[str]) -> None:
    """They go through the model together."""
    found = []
    for words in (["stage=sft"], ["stage=dpo", "dataset=pairs"]):
        assert main(["plan", "run.yaml", *words, "finetuning_type=lora", "--json"]) == 0
        found.append(json.loads(capsys.readouterr().out)["estimate"]["parts"])
    rows, pairs = found
    assert pairs["logits"] == 2 * rows["logits"]
    assert pairs["activations"] == 2 * rows["activations"]


def test_the_table_grows_to_the_right_and_down(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["estimate", "run.yaml", "--batch", "1,2", "--length", "256"]) == 0
    assert "cutoff_len \\ batch" in capsys.readouterr().out


def test_the_largest_batch_that_fits_is_taken_and_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = []
    for size in (2**28, 2**30):
        with_memory(monkeypatch, size)
        assert main(["plan", "run.yaml", "per_device_train_batch_size=auto", "--json"]) == 0
        plan = json.loads(capsys.readouterr().out)
        setting = plan["settings"]["per_device_train_batch_size"]
        assert "auto: at most" in setting["origin"]
        assert any("per_device_train_batch_size" in notice for notice in plan["notices"])
        assert sum(plan["estimate"]["parts"].values()) * 1.5 <= size
        found.append(setting["value"])
    assert found[0] < found[1]


@pytest.mark.parametrize(("memory", "told"), [(2**20, "a batch of one may take"), (0, "sizes are known here")])
def test_what_does_not_fit_is_told(
    memory: int, told: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with_memory(monkeypatch, memory)
    assert main(["plan", "run.yaml", "per_device_train_batch_size=auto"]) == 2
    assert told in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "told"),
    [(["--vary", "finetuning_type"], "no values"), (["--batch", "many"], "per_device_train_batch_size must be")],
)
def test_what_cannot_be_read_is_told(words: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["estimate", "run.yaml", *words]) == 2
    assert told in capsys.readouterr().err
