"""A folder that holds a run is neither resumed nor overwritten without being told so."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tunesmith.errors import Problem, TunesmithError
from tunesmith.output_folder import check_output_folder, remove_run, run_entries
from tunesmith.run_record import RunRecord, this_process
from tunesmith.runtime.output_lock import held


def check(folder: Path, **keys: Any) -> Problem | None:
    values = {"output_dir": str(folder), "do_train": True, **keys}
    return check_output_folder(values.get, "run.yaml:3")


@pytest.fixture
def used(tmp_path: Path) -> Path:
    """A folder with a finished run, and a file of the user's own."""
    folder = tmp_path / "used"
    (folder / "checkpoint-10").mkdir(parents=True)
    for name in ("model.safetensors", "trainer_state.json", "notes.md"):
        (folder / name).write_text("x")
    return folder


def test_another_run_is_named_with_both_ways_out(used: Path) -> None:
    problem = check(used)
    assert problem is not None
    assert problem.where == "run.yaml:3"
    assert "already holds a run (checkpoint-10, model.safetensors, trainer_state.json)" in problem.what
    assert "resume_from_checkpoint: true" in problem.instead
    assert "overwrite_output_dir: true" in problem.instead


@pytest.mark.parametrize("keys", [{"resume_from_checkpoint": True}, {"overwrite_output_dir": True}, {"do_train": False}])
def test_it_may_be_used_when_the_user_says_how(used: Path, keys: dict[str, Any]) -> None:
    assert check(used, **keys) is None


def test_both_at_once_contradict_each_other(used: Path) -> None:
    problem = check(used, resume_from_checkpoint=True, overwrite_output_dir=True)
    assert problem is not None
    assert "contradict" in problem.what


def test_a_new_folder_and_an_unrelated_one_are_free(tmp_path: Path) -> None:
    (tmp_path / "notes.md").write_text("x")
    (tmp_path / "trainer_log.jsonl").touch()  # a run that failed before it learned anything
    assert check(tmp_path) is None
    assert check(tmp_path / "a" / "b") is None


def test_a_file_in_the_way_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("x")
    problem = check(tmp_path / "out" / "deeper")
    assert problem is not None
    assert "is a file, not a folder" in problem.what


def test_a_folder_without_permission_is_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.access", lambda *_: False)  # root may write everywhere
    problem = check(tmp_path / "out")
    assert problem is not None
    assert f"no permission to write into {tmp_path}" in problem.what


def test_overwriting_the_model_that_is_read_is_refused(used: Path) -> None:
    for keys in ({"model_name_or_path": str(used)}, {"adapter_name_or_path": (str(used / "checkpoint-10"),)}):
        problem = check(used, overwrite_output_dir=True, **keys)
        assert problem is not None
        assert "which this run reads" in problem.what


def test_overwriting_removes_the_run_and_nothing_else(used: Path) -> None:
    remove_run(used)
    assert [path.name for path in used.iterdir()] == ["notes.md"]
    assert run_entries(used) == []


# ---- one run at a time -----------------------------------------------------------------------------------------------


def record(folder: Path, **changes: Any) -> None:
    facts = {**this_process(), "status": "running", "started": "2026-01-01T00:00:00+00:00", **changes}
    (folder / "run.json").write_text(RunRecord(**facts).to_json())


@pytest.mark.parametrize("keys", [{}, {"resume_from_checkpoint": True}, {"overwrite_output_dir": True}, {"do_train": False}])
def test_a_folder_that_a_run_writes_is_nobody_elses(used: Path, keys: dict[str, Any]) -> None:
    record(used)
    problem = check(used, **keys)
    assert problem is not None
    assert f"is being written by process {os.getpid()}, a run that began at 2026-01-01" in problem.what
    assert "another folder" in problem.instead


@pytest.mark.parametrize(
    "changes", [{"status": "finished"}, {"born": "another"}, {"process": 2**22 + 1}, {"host": "elsewhere"}]
)
def test_a_run_that_is_over_holds_nothing(used: Path, changes: dict[str, Any]) -> None:
    record(used, **changes)
    assert check(used, overwrite_output_dir=True) is None


def test_two_that_start_together_do_not_both_get_it(tmp_path: Path) -> None:
    folder = tmp_path / "new"
    with held(folder):
        with pytest.raises(TunesmithError, match="another run writes into"), held(folder):
            raise AssertionError
        record(folder)
        with pytest.raises(TunesmithError, match=f"written by process {os.getpid()}"), held(folder):
            raise AssertionError
    (folder / "run.json").unlink()
    assert not list(folder.iterdir())
    with held(folder):
        pass


def test_what_a_killed_process_held_is_free(tmp_path: Path) -> None:
    hold = "import sys, time; from pathlib import Path; from tunesmith.runtime.output_lock import held\n"
    hold += "with held(Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", hold, str(tmp_path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        with pytest.raises(TunesmithError), held(tmp_path):
            raise AssertionError
        process.kill()
        process.wait()
    with held(tmp_path):
        assert (tmp_path / ".lock").is_file()


def test_a_file_system_without_locks_is_written_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with held(tmp_path):
        assert (tmp_path / ".lock").is_file()
    assert not list(tmp_path.iterdir())
