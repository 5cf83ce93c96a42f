"""The one place that tells transformers and accelerate which device a run computes on.

Both choose from a fixed list of devices whose packages they find. Where that comes to the backend's own device they are left
alone; where it does not, because they do not know the device or prefer another, the backend's is put in place of theirs. Its
process group is opened here then, since they would open another.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed
from accelerate.state import PartialState

from tunesmith.errors import TunesmithError

if TYPE_CHECKING:
    from transformers import TrainingArguments


@dataclass(frozen=True)
class Home:
    """Where a process computes: its device, and torch.distributed's name of what it talks to the others over."""

    device: torch.device
    process_group: str


def make_arguments(kind: type, values: Mapping[str, Any], home: Home) -> TrainingArguments:
    """An instance of ``kind`` whose ``device`` is that of ``home``, and accelerate's as well.

    :raises TunesmithError: they have settled for another one all the same.
    """
    own = values.get("use_cpu", False) or theirs() == home.device.type
    arguments: TrainingArguments = kind(**values) if own else _placed(kind, values, home)
    if PartialState().device.type == home.device.type:
        _remember(arguments, PartialState().device)
    if arguments.device.type != home.device.type:
        message = f"The run computes on {home.device}, and transformers has chosen {arguments.device}."
        raise TunesmithError(message, "Start it in a process that has not used accelerate before.")
    return arguments


def theirs() -> str:
    """The type of device that accelerate would choose by itself."""
    return str(PartialState.default_device.fget(None).type)


def _placed(kind: type, values: Mapping[str, Any], home: Home) -> TrainingArguments:
    if _is_one_of_many() and not torch.distributed.is_initialized():
        wait = timedelta(seconds=values.get("ddp_timeout", 1800))
        torch.distributed.init_process_group(home.process_group, timeout=wait)
    # With use_cpu they look for no other device; accelerate takes the one that is named to it.
    with _named(home.device):
        arguments: TrainingArguments = kind(**{**values, "use_cpu": True})
    arguments.use_cpu = False
    return arguments


def _remember(arguments: TrainingArguments, device: torch.device) -> None:
    """Make accelerate's device that of transformers, which looks for one by itself as well."""
    if arguments.device.type != device.type:
        arguments.__dict__["_setup_devices"] = device
        arguments._n_gpu = 1  # type: ignore[attr-defined]


def _is_one_of_many() -> bool:
    return int(os.environ.get("LOCAL_RANK", "-1")) != -1


@contextmanager
def _named(device: torch.device) -> Iterator[None]:
    """Within it, accelerate is told a device by its own variable."""
    before = os.environ.get("ACCELERATE_TORCH_DEVICE")
    os.environ["ACCELERATE_TORCH_DEVICE"] = str(device)
    try:
        yield
    finally:
        if before is None:
            del os.environ["ACCELERATE_TORCH_DEVICE"]
        else:
            os.environ["ACCELERATE_TORCH_DEVICE"] = before
