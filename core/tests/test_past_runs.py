"""What output folders tell of their runs, whatever state they were left in."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tunesmith.errors import TunesmithError
from tunesmith.past_runs import differences, find_runs, history, read_run
from tunesmith.run_comparison import compare_losses, compare_records
from tunesmith.run_record import RunRecord, born, read_record, this_process
from tunesmith.testing.hand_plan import hand_plan

RECORD = RunRecord("finished", "2026-01-02T03:04:05+00:00", "elsewhere", 7, steps=4, versions={"torch": "2"})


def a_run(folder: Path, record: RunRecord | None = RECORD, losses: tuple[float, ...] = (2.0, 1.0), **keys: Any) -> Path:
    folder.mkdir(parents=True)
    if record is not None:
        (folder / "run.json").write_text(record.to_json())
    hand_plan(output_dir=str(folder), **keys).write(folder / "plan.json")
    lines = [json.dumps({"current_steps": 2 * n, "loss": loss}) for n, loss in enumerate(losses, start=1)]
    (folder / "trainer_log.jsonl").write_text("\n".join([*lines, '{"current_ste']))
    return folder


def test_a_record_comes_back(tmp_path: Path) -> None:
    a_run(tmp_path / "a")
    assert read_record(tmp_path / "a") == RECORD


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"schema": 99}', '{"schema": 1, "status": "finished"}'])
def test_what_is_no_record_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "run.json").write_text(text)
    assert read_record(tmp_path) is None


def test_a_run_goes_on_as_long_as_its_process(tmp_path: Path) -> None:
    here = replace(RECORD, status="running", **this_process())
    a_run(tmp_path / "lives", here)
    a_run(tmp_path / "another of its number", replace(here, born="1"))
    with subprocess.Popen([sys.executable, "-c", "pass"]) as process:
        began = born(process.pid)
    a_run(tmp_path / "gone", replace(here, process=process.pid, born=began))
    a_run(tmp_path / "elsewhere", replace(here, host="another machine", process=process.pid))
    status = {run.folder.name: run.status for run in find_runs(tmp_path)}
    assert status == {"lives": "running", "another of its number": "died", "gone": "died", "elsewhere": "running"}


def test_runs_are_found_below_a_folder_and_checkpoints_are_none(tmp_path: Path) -> None:
    first = a_run(tmp_path / "deep" / "down" / "a")
    a_run(tmp_path / "b", replace(RECORD, started="2027-01-01T00:00:00+00:00"))
    a_run(first / "checkpoint-2")
    a_run(tmp_path / ".staging-x")
    assert [run.folder.name for run in find_runs(tmp_path)] == ["b", "a"]
    assert find_runs(tmp_path)[0].step == 4
    assert find_runs(tmp_path)[0].loss == 1.0


def test_a_run_without_a_record_is_told_from_its_files(tmp_path: Path) -> None:
    folder = a_run(tmp_path / "a", None)
    assert read_run(folder).status == "unfinished"
    (folder / "all_results.json").write_text("{}")
    assert read_run(folder).status == "finished"


def test_folders_that_hold_no_run_are_named(tmp_path: Path) -> None:
    with pytest.raises(TunesmithError, match="holds no run"):
        read_run(tmp_path)
    with pytest.raises(TunesmithError, match="There is no folder"):
        find_runs(tmp_path / "nowhere")


def test_only_keys_that_differ_are_told(tmp_path: Path) -> None:
    a_run(tmp_path / "a", learning_rate=1e-4, seed=1)
    a_run(tmp_path / "b", learning_rate=1e-3, seed=1, lora_rank=4)
    found = {folder.name: keys for folder, keys in differences(find_runs(tmp_path)).items()}
    assert found == {"a": {"learning_rate": 1e-4}, "b": {"learning_rate": 1e-3, "lora_rank": 4}}


def test_losses_and_what_they_were_made_with_are_compared(tmp_path: Path) -> None:
    one = read_run(a_run(tmp_path / "a"))
    other = read_run(a_run(tmp_path / "b", replace(RECORD, versions={"torch": "3"}), (2.0, 1.5, 1.0)))
    compared = compare_losses(one, other)
    assert (compared.steps, compared.worst, compared.at) == (2, 0.5, 4)
    assert list(compare_records(one, other)) == ["versions: torch was 2, now 3"]
    assert "no step" in compare_losses(one, read_run(a_run(tmp_path / "c", losses=()))).text


def test_the_trainers_own_state_is_the_better_history(tmp_path: Path) -> None:
    folder = a_run(tmp_path / "a")
    assert [entry["step"] for entry in history(read_run(folder))] == [2, 4]
    (folder / "trainer_state.json").write_text(json.dumps({"log_history": [{"step": 1, "grad_norm": 0.5}]}))
    assert history(read_run(folder)) == [{"step": 1, "grad_norm": 0.5}]
