"""When the host's launchers start a run, and with how many processes. Called while planning; imports nothing heavy."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from tunesmith.errors import Problem
from tunesmith.specs import Scene

if TYPE_CHECKING:
    from tunesmith.plan import Plan

#: What every launcher of others tells each process that it starts.
TOLD = ("RANK", "LOCAL_RANK", "WORLD_SIZE")


def started_outside(scene: Scene) -> str:
    """Another launcher has started this process and its siblings."""
    if not all(scene.environ.get(name) for name in TOLD):
        return ""
    return f"process {scene.environ['RANK']} of {scene.environ['WORLD_SIZE']}, which another launcher started"


def processes_outside(scene: Scene) -> int:
    """As many as the other launcher says."""
    return int(scene.environ["WORLD_SIZE"])


def torchrun_wanted(scene: Scene) -> str:
    """Several devices, processes or machines; or one process that has to be started like several."""
    value = scene.value
    if value("force_torchrun"):
        return "force_torchrun"
    for key in ("nproc_per_node", "nnodes", "max_nnodes", "rdzv_id"):
        if value(key) not in (None, 1, "1"):
            return f"{key}: {value(key)}"
    if scene.devices > 1 and value("nproc_per_node") is None:
        return f"{scene.devices} devices here"
    return "the strategy needs processes that talk" if scene.together else ""


def torchrun_processes(scene: Scene) -> int:
    """Processes of each machine times the machines it starts with at least."""
    here = scene.value("nproc_per_node") or scene.devices
    return int(here) * machines(scene.value)[0]


def machines(value: Callable[[str], Any]) -> tuple[int, int]:
    """How many machines a run needs at least and takes at most: ``nnodes`` as a number or ``least:most``.

    :param value: flat key → its value.
    :raises ValueError: ``nnodes`` is neither.
    """
    if value("rdzv_id") and (value("min_nnodes") or value("max_nnodes")):
        least = int(value("min_nnodes") or 1)
        return least, int(value("max_nnodes") or least)
    few, _, many = str(value("nnodes")).partition(":")
    return int(few), int(many or few)


def meeting_problems(plan: Plan) -> Iterator[Problem]:
    """Why processes of several machines would not find each other, or not again after a restart."""
    if not any(chosen.name == "torchrun" for chosen in plan.picked("launchers")):
        return
    try:
        least, most = machines(plan.__getitem__)
    except ValueError:  # which planning has said
        return
    if most == 1 and plan["rdzv_id"] is None:
        return
    if plan["master_addr"] is None:
        key = "rdzv_id" if plan["rdzv_id"] else "nnodes"
        what = f"{key}: a run on {least} machine{'s' if least > 1 else ''} or more has no place to meet"
        yield Problem(plan.settings[key].origin, what, "Write master_addr: the address of machine 0.")
    if plan["max_restarts"] and plan["rdzv_id"] is None:
        what = "max_restarts: processes of several machines that start again meet where the old ones were"
        yield Problem(plan.settings["max_restarts"].origin, what, "Write rdzv_id: a name, the same on every machine.")
