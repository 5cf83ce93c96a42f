"""Two real processes: what they learn, how they are signalled, how they fail, and what they leave."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from tunesmith.testing.small_run import SmallStore, small_losses, small_plan, small_plugins, small_rows, small_session
from tunesmith.testing.together import Seen, Trial, together

PLUGINS = small_plugins()
STEPS: dict[str, Any] = {"max_steps": 4, "save_strategy": "steps", "save_steps": 2}


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Seen]]:
    """Two processes that train, go on from the middle, and go on from what one process wrote."""
    folder = tmp_path_factory.mktemp("pair")
    alone = small_plan(folder, PLUGINS, "small", output_dir=str(folder / "alone"), **STEPS | {"per_device_train_batch_size": 4})
    session = small_session(alone, PLUGINS, SmallStore(small_rows(16)))
    session.trainer.run(session)
    two = small_plan(folder, PLUGINS, "small", output_dir=str(folder / "two"), **STEPS)
    again = small_plan(
        folder,
        PLUGINS,
        "small",
        output_dir=str(folder / "two"),
        resume_from_checkpoint=str(folder / "two/checkpoint-2"),
        **STEPS,
    )
    from_one = {"resume_from_checkpoint": str(folder / "alone/checkpoint-2"), **STEPS}
    wider = small_plan(folder, PLUGINS, "small", output_dir=str(folder / "alone"), **from_one)
    larger = small_plan(
        folder, PLUGINS, "small", output_dir=str(folder / "alone"), **from_one | {"per_device_train_batch_size": 4}
    )
    return folder, [
        Seen(tuple(small_losses(session))),
        *together([Trial(p) for p in (two, again, wider, larger)], folder / "t"),
    ]


def test_two_processes_learn_what_one_learns_from_the_same_rows(pair: tuple[Path, list[Seen]]) -> None:
    alone, two, *_ = pair[1]
    assert "DistributedDataParallel" in two.wrapped
    assert two.losses == pytest.approx(alone.losses, abs=2e-5)


def test_a_resumed_pair_loses_nothing(pair: tuple[Path, list[Seen]]) -> None:
    _, two, again, *_ = pair[1]
    assert again.losses == two.losses
    names = {file.name for file in (pair[0] / "two/checkpoint-2").iterdir()}
    assert {"rng-0.json", "rng-1.json", "running-1.json", "optimizer.safetensors", "manifest.json"} <= names


def test_another_number_of_processes_goes_on_only_with_steps_of_the_same_size(pair: tuple[Path, list[Seen]]) -> None:
    alone, _, _, wider, larger = pair[1]
    assert wider.losses == pytest.approx(alone.losses, abs=2e-5)
    assert "a step would be 8 rows instead of 4" in larger.error


# ---- the processes that tunesmith train starts -----------------------------------------------------------------------

LOCAL = """
import os, signal, time
from tunesmith import hookimpl
TUNESMITH_API = (1, 0)

@hookimpl
def tunesmith_step_ended(session, step):
    first = os.environ["RANK"] == "0"
    if os.environ["TRY"] == "signal":
        time.sleep(0.2)
    elif os.environ["TRY"] == "signal twice":
        time.sleep(60)
    elif os.environ["TRY"] == "killed":
        if step == 2 and not first:
            os.kill(os.getpid(), signal.SIGKILL)
    elif os.environ["TRY"] == "gone":
        if step == 2 and not first:
            os._exit(9)
    elif os.environ["TRY"] == "restart":
        if step == 3 and not first and os.environ["TORCHELASTIC_RESTART_COUNT"] == "0":
            os._exit(9)
    elif step == 1 and not first:
        time.sleep(5)
    elif step == 2 and not first:
        raise RuntimeError("the second process gives up")
"""


def start(folder: Path, what: str, **keys: Any) -> subprocess.Popen[str]:
    """``tunesmith.worker``'s road without the data: the launcher of a small plan, whose stage is fed by hand."""
    folder.mkdir()
    (folder / "tunesmith_local.py").write_text(LOCAL)
    given = {"nproc_per_node": 2, "max_steps": 200, "save_strategy": "no", **keys}
    plan = small_plan(folder, PLUGINS, "small", picked={"launchers": "torchrun"}, **given)
    (folder / "plan.json").write_text(plan.to_json())
    command = [sys.executable, str(Path(__file__).with_name("launch_small.py")), str(folder)]
    environ = {
        **os.environ,
        "TRY": what,
        "RUN_OF": str(folder),
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(Path(__file__).parent),
    }
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen(command, env=environ, start_new_session=True, **pipes)


def wait_for_a_step(folder: Path, process: subprocess.Popen[str]) -> None:
    log = folder / "out/trainer_log.jsonl"
    until = time.monotonic() + 200
    while not (log.is_file() and log.read_text()):
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < until
        time.sleep(0.1)


@pytest.mark.parametrize("from_a_terminal", [False, True])
def test_a_signal_to_the_parent_writes_one_full_checkpoint(tmp_path: Path, from_a_terminal: bool) -> None:
    process = start(tmp_path / "a", "signal")
    wait_for_a_step(tmp_path / "a", process)
    if from_a_terminal:  # Ctrl-C goes to every process of the group
        os.killpg(process.pid, signal.SIGINT)
    else:
        process.send_signal(signal.SIGTERM)
    said, _ = process.communicate(timeout=200)
    assert process.returncode == 130, said
    assert said.count("ending after this step") >= 1
    (checkpoint,) = (tmp_path / "a/out").glob("checkpoint-*")
    held = json.loads((checkpoint / "manifest.json").read_text())["files"]
    assert {"optimizer.safetensors", "rng-0.json", "rng-1.json"} <= set(held)


def test_a_second_signal_ends_every_process_at_once(tmp_path: Path) -> None:
    process = start(tmp_path / "c", "signal twice")
    wait_for_a_step(tmp_path / "c", process)
    os.killpg(process.pid, signal.SIGINT)
    time.sleep(1)
    os.killpg(process.pid, signal.SIGINT)
    said, _ = process.communicate(timeout=30)
    assert process.returncode == 130, said
    assert not list((tmp_path / "c/out").glob("checkpoint-*"))
    assert not alive(tmp_path / "c")


def alive(folder: Path) -> list[int]:
    """The processes that were started for a run in ``folder``."""
    running = psutil.process_iter(["environ"])
    return [one.pid for one in running if (one.info["environ"] or {}).get("RUN_OF") == str(folder)]


def test_processes_that_are_started_again_go_on_from_the_newest_checkpoint(tmp_path: Path) -> None:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    meeting = {"rdzv_id": "meeting", "master_addr": "127.0.0.1", "master_port": port, "max_restarts": 1}
    process = start(tmp_path / "d", "restart", **{**meeting, "max_steps": 5, "save_strategy": "steps", "save_steps": 2})
    said, _ = process.communicate(timeout=300)
    assert process.returncode == 0, said
    assert "checkpoint-2" in said[said.index("Going on from") :]
    assert json.loads((tmp_path / "d/out/trainer_state.json").read_text())["global_step"] == 5


def test_a_hang_shows_every_stack_and_a_failure_its_own_traceback_first(tmp_path: Path) -> None:
    process = start(tmp_path / "b", "fail", hang_timeout=2)
    said, _ = process.communicate(timeout=200)
    assert process.returncode == 1, said
    for rank in (0, 1):
        assert f"Process {rank} of 2: no step for" in said
    assert "in tunesmith_step_ended" in said  # where the second process sleeps
    assert said.index("Process 1 failed first") < said.index("RuntimeError: the second process gives up")
    assert "Connection closed by peer" not in said
    assert "Brought down with it: process 0" in said


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("killed", "Process 1 was killed by SIGKILL. The machine may have run out of memory."),
        pytest.param("gone", "Process 1 ended with status 9 and said nothing.", marks=pytest.mark.long),
    ],
)
def test_a_process_that_dies_without_a_word_brings_the_other_down(tmp_path: Path, what: str, words: str) -> None:
    """Within a minute of its last step, and it is named first: the other one has only lost its peer."""
    process = start(tmp_path / "e", what)
    wait_for_a_step(tmp_path / "e", process)
    since = time.monotonic()
    said, _ = process.communicate(timeout=100)
    assert time.monotonic() - since < 60
    assert process.returncode == 1, said
    assert words in said
    assert "failed first" not in said
    assert "Connection closed by peer" not in said
    assert not alive(tmp_path / "e")
