"""Several machines that see one data cache (``data_shared_file_system``): the first prepares, the others wait for it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

from tunesmith.errors import TunesmithError
from tunesmith.plan import Plan

#: Seconds between two looks, which a network file system can bear.
PAUSE = 1.0


def waits_for_another(plan: Plan) -> bool:
    """Whether another machine prepares the data of this run, into a folder that this one sees too."""
    return bool(plan["data_shared_file_system"]) and number(plan) > 0


def number(plan: Plan) -> int:
    """Which machine this is, from 0: as torchrun has told its processes, else as ``node_rank`` says."""
    told = os.environ.get("GROUP_RANK")
    return int(told) if told else int(plan["node_rank"] if "node_rank" in plan.settings else 0)


def wait(plan: Plan, folder: Path, done: Callable[[], bool], pause: float = PAUSE) -> None:
    """Wait until the first machine has prepared ``folder``.

    :raises TunesmithError: it has not within ``ddp_timeout`` seconds.
    """
    limit = int(plan["ddp_timeout"] if "ddp_timeout" in plan.settings else 1800)
    end = time.monotonic() + limit
    while not done():
        if time.monotonic() > end:
            what = f"data_shared_file_system: the first machine has not prepared {folder} within {limit} seconds."
            hint = "Write data_cache_dir: a folder that all machines share, or raise ddp_timeout."
            raise TunesmithError(what, hint)
        time.sleep(pause)
