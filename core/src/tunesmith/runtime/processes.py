"""What the processes of one run have to do together."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

import torch.distributed as dist
from accelerate.utils import broadcast_object_list

from tunesmith.errors import TunesmithError

if TYPE_CHECKING:
    from transformers import TrainingArguments

T = TypeVar("T")


def first_decides(args: TrainingArguments, decide: Callable[[], T]) -> T:
    """What ``decide`` says in the first process, in all of them.

    :raises TunesmithError: what it raised there.
    """
    if args.world_size == 1:
        return decide()
    held: list[T | TunesmithError | None] = [None]
    if args.process_index == 0:
        try:
            held[0] = decide()
        except TunesmithError as error:
            held[0] = error
    (said,) = broadcast_object_list(held)
    if isinstance(said, TunesmithError):
        raise said
    decided: T = said
    return decided


def part(args: TrainingArguments) -> None:
    """Leave the process group once nothing is left to say to each other."""
    if args.world_size > 1 and dist.is_initialized():
        dist.destroy_process_group()
