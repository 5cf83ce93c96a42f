"""Processes of the emulated device talk over gloo: tensors go to the processor, through it, and back."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist

#: Calls that gloo carries out under the same name, and torch's newer names for them.
CALLS = {
    **{
        name: name
        for name in (
            "allgather",
            "allgather_coalesced",
            "allreduce",
            "allreduce_coalesced",
            "alltoall",
            "alltoall_base",
            "barrier",
            "broadcast",
            "gather",
            "recv",
            "recv_anysource",
            "reduce",
            "reduce_scatter",
            "scatter",
            "send",
            "_allgather_base",
            "_reduce_scatter_base",
        )
    },
    "all_gather_single": "_allgather_base",
    "reduce_scatter_single": "_reduce_scatter_base",
    "all_to_all_single": "alltoall_base",
}


class EmulatedGroup(dist.ProcessGroup):
    """A process group whose tensors may live on the emulated device."""

    def __init__(self, name: str, gloo: Any, rank: int, size: int) -> None:
        super().__init__(rank, size)
        self._name, self._gloo = name, gloo

    def getBackendName(self) -> str:  # noqa: N802 - torch's name
        """Under which it was registered."""
        return self._name


def _carried_out(call: str) -> Callable[..., Any]:
    def carry_out(self: EmulatedGroup, *arguments: Any, **options: Any) -> Any:
        pairs: list[tuple[torch.Tensor, torch.Tensor]] = []
        plain = [_plain(one, pairs) for one in arguments]
        getattr(self._gloo, call)(*plain, **{key: _plain(value, pairs) for key, value in options.items()}).wait()
        for own, copy in pairs:
            own.copy_(copy)
        done: torch.futures.Future[Any] = torch.futures.Future()
        done.set_result([own for own, _ in pairs])
        return torch._C._distributed_c10d._create_work_from_future(done)

    return carry_out


for _name, _call in CALLS.items():
    setattr(EmulatedGroup, _name, _carried_out(_call))


def _plain(value: Any, pairs: list[tuple[torch.Tensor, torch.Tensor]]) -> Any:
    """``value`` with its tensors on the processor; each tensor and its copy are noted in ``pairs``."""
    if isinstance(value, torch.Tensor):
        copy = value.detach().cpu()
        pairs.append((value.detach(), copy))
        return copy
    return [_plain(one, pairs) for one in value] if isinstance(value, list | tuple) else value


def register_group(name: str, device: str) -> None:
    """Make ``torch.distributed.init_process_group(name)`` work for tensors of ``device`` and of the processor."""

    def make(store: Any, rank: int, size: int, timeout: timedelta) -> EmulatedGroup:
        return EmulatedGroup(name, dist.ProcessGroupGloo(store, rank, size, timeout), rank, size)

    dist.Backend.register_backend(name, make, devices=["cpu", device])
