"""Where a run goes on whose processes were started again, and whether their number may be another one."""

from __future__ import annotations

import logging
import os
import re
from math import prod
from pathlib import Path

from tunesmith.errors import TunesmithError
from tunesmith.plan import Plan
from tunesmith.runtime.checkpoint import Checkpoint, checkpoints_in, find_checkpoint

log = logging.getLogger(__name__)

#: Every process writes its own random state, so the checkpoint knows how many there were.
OF_A_PROCESS = re.compile(r"rng-(\d+)\.\w+")
BATCH = ("per_device_train_batch_size", "gradient_accumulation_steps")


def started_again() -> bool:
    """Whether the launcher has started the processes anew, after one had failed."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT") or 0) > 0


def written_before(output_dir: Path, *, read: bool) -> str:
    """The newest checkpoint that the processes before these have left, or nothing.

    :param read: it may be read; the formats of some strategies can hold code.
    """
    if not checkpoints_in(output_dir):
        return ""
    if not read:
        log.warning("The processes were started again and begin anew: write trust_checkpoint: true to go on from checkpoints.")
        return ""
    try:
        return str(find_checkpoint(output_dir, True, trust=False).folder)
    except TunesmithError as error:
        log.warning("The processes were started again and begin anew: %s", error.message)
        return ""


def check_processes(checkpoint: Checkpoint, plan: Plan, processes: int, resumes: str) -> None:
    """Say what another number of processes means, or refuse it.

    :param resumes: :attr:`tunesmith.specs.StrategySpec.resumes`.
    :raises TunesmithError: the strategy cannot read what another number of processes wrote, or steps would be of another size,
        so that rows would be learned twice or never.
    """
    then = processes_of(checkpoint)
    if then in (0, processes):
        return
    was = f"{checkpoint.folder} was written by {then} process{'es' if then > 1 else ''}, and this run has {processes}"
    if resumes != "any":
        raise TunesmithError(f"{was}: each holds a part of the optimizer.", f"Start {then} again.")
    before, now = _rows(Plan.read(checkpoint.folder / "plan.json"), then), _rows(plan, processes)
    if before != now:
        raise TunesmithError(
            f"{was}: a step would be {now} rows instead of {before}, and rows would be learned twice or never.",
            f"Make {' × '.join(BATCH)} × processes {before} again, or start {then} processes.",
        )
    log.warning("%s. Steps are as large as before; where chance is at work (dropout), losses differ a little.", was)


def processes_of(checkpoint: Checkpoint) -> int:
    """How many processes wrote it; 0 where it does not say."""
    files = checkpoint.manifest.files if checkpoint.manifest else ()
    return len({found[1] for name in files if (found := OF_A_PROCESS.fullmatch(name))})


def _rows(plan: Plan, processes: int) -> int:
    return processes * prod(int(plan[key] or 1) for key in BATCH)
