"""Whether a run may go on with another number of processes than the one that wrote its checkpoint."""

from __future__ import annotations

import logging
import re
from math import prod

from tunesmith.errors import TunesmithError
from tunesmith.plan import Plan
from tunesmith.runtime.checkpoint import Checkpoint

log = logging.getLogger(__name__)

#: Every process writes its own random state, so the checkpoint knows how many there were.
OF_A_PROCESS = re.compile(r"rng-(\d+)\.\w+")
BATCH = ("per_device_train_batch_size", "gradient_accumulation_steps")


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
