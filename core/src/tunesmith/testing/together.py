"""Several real processes that do small runs one after the other, for tests of strategies.

Starting a process that imports torch and transformers costs seconds, so one start covers many runs::

    seen = together([Trial(plan, {"acme": "tunesmith_acme.plugin"}), …], folder)
    assert seen[0].losses == …

Each run is the stage and the rows of :mod:`tunesmith.testing.small_run`; processes talk by gloo, on this machine only.
"""

from __future__ import annotations

import gc
import json
import os
import socket
import subprocess
import sys
import time
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tunesmith.plan import Plan
from tunesmith.testing.small_run import SmallStore, small_losses, small_plugins, small_rows, small_session
from tunesmith.values import from_plain

#: Two processes on a busy machine may take this long, in seconds.
PATIENCE = 400


@dataclass(frozen=True)
class Trial:
    """One run: its plan, the plugin modules it needs beside the host's and the small parts, and how many rows it has.

    :param evals: rows to evaluate on.
    :param sequences: what each row holds.
    """

    plan: Plan
    modules: Mapping[str, str] = field(default_factory=dict)
    rows: int = 16
    evals: int = 0
    sequences: tuple[str, ...] = ("tokens",)


@dataclass(frozen=True)
class Seen:
    """What one run was like: its losses, the types around its model from the outside in, and how it failed, if it did."""

    losses: tuple[float, ...] = ()
    wrapped: tuple[str, ...] = ()
    error: str = ""


def together(trials: Sequence[Trial], folder: Path, processes: int = 2) -> list[Seen]:
    """Do every trial in ``processes`` processes; what the first process saw.

    :raises AssertionError: a process died, or they took too long.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for number, trial in enumerate(trials):
        (folder / f"plan-{number}.json").write_text(trial.plan.to_json(secrets=True), encoding="utf-8")
        facts = {"modules": dict(trial.modules), "rows": trial.rows, "evals": trial.evals, "names": trial.sequences}
        (folder / f"trial-{number}.json").write_text(json.dumps(facts), encoding="utf-8")
    command = [sys.executable, "-m", "tunesmith.testing.together", str(folder), str(len(trials))]
    started, port = [], _free_port()
    for rank in range(processes):
        told = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": processes, "LOCAL_WORLD_SIZE": processes}
        told |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "OMP_NUM_THREADS": 1}
        with (folder / f"log-{rank}").open("w") as log:
            env = {**os.environ, **{name: str(value) for name, value in told.items()}}
            started.append(subprocess.Popen(command, env=env, stdout=log, stderr=subprocess.STDOUT))
    statuses = _wait(started)
    said = "\n".join((folder / f"log-{rank}").read_text(errors="replace")[-6000:] for rank in range(processes))
    assert not any(statuses), f"the processes ended with {statuses}:\n{said}"
    return [from_plain(Seen, json.loads((folder / f"seen-{number}.json").read_text())) for number in range(len(trials))]


def _wait(started: Sequence[subprocess.Popen[bytes]]) -> list[int | None]:
    """The exit statuses once all have ended, or one has failed, or patience has."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until and None in (statuses := [process.poll() for process in started]) and not any(statuses):
        time.sleep(0.05)
    for process in started:
        process.kill()
    return [process.wait() if process.poll() is None else process.returncode for process in started]


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


# ---- in each process -------------------------------------------------------------------------------------------------


def main(folder: Path, count: int) -> None:
    """Do all trials in ``folder``."""
    for number in range(count):
        seen = _one(folder, number)
        _forget()
        if os.environ["RANK"] == "0":
            (folder / f"seen-{number}.json").write_text(json.dumps(asdict(seen)), encoding="utf-8")


def _one(folder: Path, number: int) -> Seen:
    from tunesmith.errors import TunesmithError
    from tunesmith.runtime.artefacts import finish

    plan = Plan.read(folder / f"plan-{number}.json")
    trial = json.loads((folder / f"trial-{number}.json").read_text(encoding="utf-8"))
    wrapped: list[str] = []
    evals = {"": SmallStore(small_rows(trial["evals"], seed=1, names=trial["names"]))} if trial["evals"] else {}
    try:
        session = small_session(
            plan, small_plugins(**trial["modules"]), SmallStore(small_rows(trial["rows"], names=trial["names"])), evals
        )
        _spy(session.strategy, wrapped)
        finish(session, session.trainer.run(session))
    except TunesmithError:
        return Seen(wrapped=tuple(wrapped), error=traceback.format_exc())
    return Seen(tuple(small_losses(session)) if session.args.should_save else (), tuple(wrapped))


def _spy(strategy: Any, wrapped: list[str]) -> None:
    check = strategy.wrap_check

    def wrap_check(model: Any, processes: int) -> None:
        wrapped.extend(kind.__name__ for kind in type(model).__mro__)
        check(model, processes)

    strategy.wrap_check = wrap_check


def _forget() -> None:
    """What accelerate remembers of the last run; the process group goes on, since libraries keep groups of their own."""
    from accelerate.state import AcceleratorState, GradientState, PartialState

    gc.collect()  # configurations that libraries hold only weakly
    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()
    PartialState._reset_state()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
