"""The flat keys of the host's launchers: how many processes a run has, on which machines, and what happens when one is lost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from tunesmith.options import Range


@dataclass(frozen=True)
class LaunchOptions:
    """Processes and machines of a run. Those that come from the environment keep their names there, in capitals."""

    force_torchrun: Annotated[bool, "Start processes although there is one device."] = False
    nproc_per_node: Annotated[int | None, "Processes on this machine; nothing given: one for each device.", Range(least=1)] = (
        None
    )
    nnodes: Annotated[str, "Machines that take part: a number, or least:most with rdzv_id."] = "1"
    node_rank: Annotated[int, "Number of this machine, from 0.", Range(least=0)] = 0
    master_addr: Annotated[str | None, "Address of machine 0, where processes meet."] = None
    master_port: Annotated[
        int | None, "Port where processes meet; 29500 with several machines.", Range(least=1, most=65535)
    ] = None
    rdzv_id: Annotated[str | None, "Name of the meeting, for runs whose machines come and go."] = None
    min_nnodes: Annotated[int | None, "Machines that a run with rdzv_id needs at least.", Range(least=1)] = None
    max_nnodes: Annotated[int | None, "Machines that a run with rdzv_id takes at most.", Range(least=1)] = None
    max_restarts: Annotated[int, "Times that all processes are started again after one failed.", Range(least=0)] = 0
    optim_torch: Annotated[bool, "Set the variables that the backend wants where they are not set."] = True
    hang_timeout: Annotated[
        int, "Seconds without a step after which every process prints its stack; 0 means never.", Range(least=0)
    ] = 900
