"""Real processes that are signalled, killed in the middle of a save, or run out of disk."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tunesmith.runtime.checkpoint import checkpoints_in, clean_up, find_checkpoint, trouble_with
from tunesmith.testing.small_run import SmallStore, small_losses, small_plan, small_plugins, small_rows, small_session

CHILD = Path(__file__).with_name("runtime_child.py")
OFFLINE = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
#: 80 rows in batches of 2 make an epoch of 40 steps; signals arrive somewhere in the first or second.
KEYS: dict[str, Any] = {"num_train_epochs": 2.0, "logging_steps": 3}


def start(folder: Path, **keys: Any) -> subprocess.Popen[str]:
    """A child that has started to train and logged its first steps."""
    command = [sys.executable, str(CHILD), str(folder), json.dumps({**KEYS, **keys})]
    child = subprocess.Popen(
        command, env=OFFLINE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    log = folder / "out" / "trainer_log.jsonl"
    until(lambda: child.poll() is not None or (log.is_file() and log.read_text().count("\n") > 2))
    assert child.poll() is None, child.communicate()
    return child


def until(done: Callable[[], bool], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.01)


def run(folder: Path, **keys: Any) -> list[float]:
    """The same run in this process: its losses."""
    plugins = small_plugins()
    plan = small_plan(folder, plugins, "small", **{**KEYS, **keys})
    session = small_session(plan, plugins, SmallStore(small_rows(80)))
    session.trainer.run(session)
    return small_losses(session)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> list[float]:
    """The losses of the run that nobody disturbs."""
    return run(tmp_path_factory.mktemp("whole"))


@pytest.mark.parametrize(("number", "name"), [(signal.SIGTERM, "SIGTERM"), (signal.SIGINT, "Ctrl-C")])
def test_a_signal_writes_a_checkpoint_from_which_the_run_repeats(
    tmp_path: Path, uninterrupted: list[float], number: int, name: str
) -> None:
    child = start(tmp_path, dataloader_num_workers=1)
    os.killpg(child.pid, number)  # as terminals and schedulers do: the loader's worker gets it too
    out, err = child.communicate(timeout=60)
    assert child.returncode == 130, err
    stopped = json.loads(out.splitlines()[-1])
    assert stopped["stopped"] == name
    assert 0 < stopped["steps"] < 80
    assert err.count(f"{name}: ending after this step, with a checkpoint.") == 1
    assert [path.name for path in checkpoints_in(tmp_path / "out")] == [f"checkpoint-{stopped['steps']}"]
    assert run(tmp_path, resume_from_checkpoint=True) == uninterrupted


def test_a_second_signal_ends_at_once(tmp_path: Path) -> None:
    child = start(tmp_path)
    child.send_signal(signal.SIGSTOP)  # both arrive before the step ends
    child.send_signal(signal.SIGTERM)
    child.send_signal(signal.SIGINT)
    child.send_signal(signal.SIGCONT)
    _, err = child.communicate(timeout=60)
    assert child.returncode in (-signal.SIGTERM, -signal.SIGINT)
    assert "a second time: ending now, without a checkpoint." in err
    assert checkpoints_in(tmp_path / "out") == []


# ---- SIGKILL in the middle of a save ---------------------------------------------------------------------------------


OPERATIONS = ("open", "os.rename", "os.mkdir", "os.chmod", "os.listdir", "os.scandir", "os.remove", "os.rmdir")


def die_after(count: int, folder: Path, keys: dict[str, Any]) -> None:
    """Train, and kill this process at the ``count``-th file operation of the second save (never when 0)."""
    seen = {"saving": False, "operations": 0}

    def watch(event: str, args: tuple[Any, ...]) -> None:
        if event == "os.mkdir" and ".staging-" in str(args[0]):
            seen["saving"] = str(args[0]).endswith("checkpoint-4")
        if seen["saving"] and event in OPERATIONS:
            seen["operations"] += 1
            if seen["operations"] == count:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)
    run(folder, **keys)
    (folder / "operations").write_text(str(seen["operations"]))


def in_a_fork(*args: Any) -> int:
    process = multiprocessing.get_context("fork").Process(target=die_after, args=args)
    process.start()
    process.join(120)
    assert process.exitcode is not None
    return process.exitcode


@pytest.fixture(scope="module")
def operations(tmp_path_factory: pytest.TempPathFactory) -> int:
    """How many file operations the second save takes."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("counted")
    assert in_a_fork(0, folder, KILLED) == 0
    return int((folder / "operations").read_text())


KILLED: dict[str, Any] = {
    "num_train_epochs": 1.0,
    "max_steps": 6,
    "save_strategy": "steps",
    "save_steps": 2,
    "logging_steps": 1,
}


def kill_and_check(tmp_path: Path, at: int, whole: list[float]) -> None:
    assert in_a_fork(at, tmp_path, KILLED) == -signal.SIGKILL
    clean_up(tmp_path / "out")
    assert find_checkpoint(tmp_path / "out", True, trust=False).step in (2, 4)
    assert run(tmp_path, **{**KILLED, "resume_from_checkpoint": True}) == whole
    assert not list((tmp_path / "out").glob(".staging-*"))


@pytest.mark.parametrize("share", [0.05, 0.5, 0.8, 0.97])
def test_a_kill_during_a_save_leaves_a_checkpoint_that_resumes(tmp_path: Path, operations: int, share: float) -> None:
    kill_and_check(tmp_path, max(1, round(share * operations)), run(tmp_path / "whole", **KILLED))


@pytest.mark.long
def test_kills_all_over_a_save_leave_a_checkpoint_that_resumes(tmp_path: Path, operations: int) -> None:
    whole = run(tmp_path / "whole", **KILLED)
    for point in sorted({round(1 + (operations - 1) * part / 39) for part in range(40)}):
        kill_and_check(tmp_path / str(point), point, whole)


@pytest.mark.long
def test_kills_at_any_moment_leave_a_folder_that_resumes(tmp_path: Path) -> None:
    keys = {"save_strategy": "steps", "save_steps": 1, "save_total_limit": 1, "num_train_epochs": 1.0}
    whole = run(tmp_path / "whole", **keys)
    for number in range(12):
        child = start(tmp_path / "run", **keys, **({"resume_from_checkpoint": True} if number else {}))
        time.sleep(0.02 * number)
        child.kill()
        child.communicate()
        clean_up(tmp_path / "run" / "out")
        assert find_checkpoint(tmp_path / "run" / "out", True, trust=False).step > 0
    assert run(tmp_path / "run", **keys, resume_from_checkpoint=True) == whole


# ---- a full disk -----------------------------------------------------------------------------------------------------


def small_disk(folder: Path, megabytes: int) -> list[str]:
    """The start of a command that sees a disk of this size at ``folder``."""
    mount = f'mount -t tmpfs -o size={megabytes}m tmpfs {folder} && exec "$@"'
    return ["unshare", "--mount", "--map-root-user", "sh", "-c", mount, "sh"]


def test_a_full_disk_ends_the_run_and_leaves_the_older_checkpoint_intact(tmp_path: Path) -> None:
    disk = tmp_path / "out"
    disk.mkdir()
    if not shutil.which("unshare") or subprocess.run([*small_disk(disk, 1), "true"], capture_output=True).returncode:
        pytest.skip("this machine lets nobody mount a small disk")
    keys = {**KEYS, "save_strategy": "steps", "save_steps": 2}
    command = [*small_disk(disk, 4), sys.executable, str(CHILD), str(tmp_path), json.dumps(keys)]
    done = subprocess.run(command, env=OFFLINE, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2, done.stderr
    said, left = (json.loads(line) for line in done.stdout.splitlines()[-2:])
    assert "No space left on device" in said["error"]
    assert "is intact: free some space, then resume_from_checkpoint: true" in said["hint"]
    assert said["troubles"]
    assert not any(said["troubles"])
    assert not [name for name in left if name.startswith(".staging")]


def test_no_permission_ends_the_run_with_a_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path, *args: Any, **kwargs: Any) -> None:
        raise PermissionError(13, "Permission denied", str(self))

    from tunesmith.errors import TunesmithError

    run(tmp_path, **KILLED)
    newest = checkpoints_in(tmp_path / "out")[-1]
    monkeypatch.setattr("tunesmith.runtime.checkpoint.stage", refuse)
    with pytest.raises(TunesmithError, match=r"Writing .*checkpoint-8 failed: Permission denied"):
        run(tmp_path, **{**KILLED, "max_steps": 8, "resume_from_checkpoint": True})
    assert trouble_with(newest) == ""
