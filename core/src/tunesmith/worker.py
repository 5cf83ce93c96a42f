"""One process of a run that a launcher of ours has started: ``python -m tunesmith.worker FOLDER``.

What goes wrong is not printed here but left in the folder, so that whoever started the processes can say what happened first.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from tunesmith import launch
from tunesmith.errors import TunesmithError
from tunesmith.run_folder import RunFolder


def main(arguments: Sequence[str]) -> int:
    """Do this process's share of the run; 0 unless all processes have to end."""
    folder, rank = RunFolder(Path(arguments[0])), int(os.environ["RANK"])
    if not folder.enter(rank):
        folder.leave(rank, launch.INTERRUPTED)
        return 0
    try:
        status = _work(folder, rank)
    except KeyboardInterrupt:
        folder.leave(rank, launch.INTERRUPTED)
        return launch.INTERRUPTED
    except BaseException as error:
        folder.leave(rank, 2 if isinstance(error, TunesmithError) else 1, error)
        return 1
    folder.leave(rank, status)
    return 0


def _work(folder: RunFolder, rank: int) -> int:
    plan = folder.wait_for_plan()
    assert plan is not None  # it is put there before anybody is started
    speaks = rank == 0 and plan["verbosity"] not in ("error", "critical")
    return launch.work(plan, (lambda text: click.echo(text, err=True)) if speaks else launch.say_nothing)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
