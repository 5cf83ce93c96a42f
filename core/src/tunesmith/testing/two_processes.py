"""Small runs in two real processes that talk over gloo, for tests that splitting a batch over processes changes no loss.

The processes are forked from a server that has torch and transformers loaded and does nothing else, so that only the first of
many tests waits for them.
"""

from __future__ import annotations

import json
import os
import socket
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from tunesmith.data.conversation import Tokens

#: Seconds after which two processes that wait for each other are given up.
PATIENCE = 300
#: What a stage is made of, loaded once.
PRELOADED = ("tunesmith.runtime.batch_trainer", "tunesmith.testing.small_run", "tunesmith.testing.tiny_models")


@dataclass(frozen=True)
class Job:
    """One small run.

    :param plugin: the module of the plugin under test.
    :param keys: flat keys, JSON-plain.
    :param rows: as stages learn them.
    """

    plugin: str
    stage: str
    folder: str
    rows: Sequence[Mapping[str, Any]]
    keys: Mapping[str, Any] = field(default_factory=dict)
    packed: bool = False


def run_in_two(folder: Path, jobs: Sequence[Job]) -> list[list[float]]:
    """Do all jobs in two processes; the losses that each logged.

    :raises AssertionError: a process failed; the message is what it said.
    """
    file = folder / "jobs.json"
    file.write_text(json.dumps([{**asdict(job), "rows": [_plain(row) for row in job.rows]} for job in jobs]))
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    context = get_context("forkserver")
    context.set_forkserver_preload(list(PRELOADED))
    started = [context.Process(target=_work, args=(str(file), rank, port), daemon=True) for rank in (0, 1)]
    for process in started:
        process.start()
    for process in started:
        process.join(PATIENCE)
        process.kill()
    wrong = [said.read_text() for rank in (0, 1) if (said := file.with_suffix(f".{rank}.error")).is_file()]
    assert not wrong, wrong[0]
    assert [process.exitcode for process in started] == [0, 0], "a process died, or the two wait for each other"
    losses: list[list[float]] = json.loads(file.with_suffix(".losses").read_text())
    return losses


def _plain(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _listed(value) for name, value in row.items()}


def _listed(value: Any) -> Any:
    if isinstance(value, Tokens):
        return {"ids": np.asarray(value.ids).tolist(), "weights": np.asarray(value.weights).tolist()}
    return value.tolist() if isinstance(value, np.ndarray) else value


def _row(plain: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _tokens(value) if isinstance(value, dict) and "ids" in value else value for name, value in plain.items()}


def _tokens(plain: Mapping[str, Any]) -> Tokens:
    return Tokens(np.array(plain["ids"], np.int32), np.array(plain["weights"], np.float32))


def _work(file: str, rank: int, port: int) -> None:
    shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "HF_HUB_OFFLINE": "1"}
    os.environ.update({**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)})
    try:
        losses = [_run(plain) for plain in json.loads(Path(file).read_text())]
    except BaseException:
        Path(file).with_suffix(f".{rank}.error").write_text(traceback.format_exc())
        raise
    if rank == 0:
        Path(file).with_suffix(".losses").write_text(json.dumps(losses))


def _run(plain: Mapping[str, Any]) -> list[float]:
    from tunesmith.testing.small_run import SmallStore, small_losses, small_plan, small_plugins, small_session

    job = Job(**{**plain, "rows": [_row(row) for row in plain["rows"]]})
    plugins = small_plugins(tested=job.plugin)
    plan = small_plan(Path(job.folder), plugins, job.stage, ddp_backend="gloo", **job.keys)
    session = small_session(plan, plugins, SmallStore(job.rows, packed=job.packed))
    session.trainer.run(session)
    assert session.args.world_size == 2, "this is no run of two processes"
    return small_losses(session) if session.args.should_save else []
