"""SIGTERM and Ctrl-C while training: the first asks for a checkpoint and a clean end, the second ends the process."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from types import FrameType
from typing import Any

import torch.distributed as dist
from torch import tensor

log = logging.getLogger(__name__)

NAMES = {signal.SIGTERM: "SIGTERM", signal.SIGINT: "Ctrl-C"}


class Interruption:
    """Whether this run was asked to end. ``reason`` is ``"SIGTERM"``, ``"Ctrl-C"`` or empty."""

    def __init__(self) -> None:
        self.reason = ""
        self._process = os.getpid()

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Within it, a first signal sets ``reason``; a second one does what it does outside."""
        if threading.current_thread() is not threading.main_thread():
            yield  # only the main thread may install handlers; elsewhere whoever started the thread decides
            return
        before = {number: signal.signal(number, self._on_signal) for number in NAMES}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._process:
            return  # a loader's worker inherited this handler
        name = NAMES[signal.Signals(number)]
        if self.reason:
            log.warning("%s a second time: ending now, without a checkpoint.", name)
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            return
        self.reason = name
        log.warning("%s: ending after this step, with a checkpoint. Once more ends at once.", name)

    def agreed(self, processes: int, device: object) -> str:
        """``reason`` of any process of the run, so that all of them end at the same step."""
        if processes > 1:
            known = ("", *NAMES.values())
            flag = tensor(known.index(self.reason), device=device)
            dist.all_reduce(flag, op=dist.ReduceOp.MAX)
            self.reason = known[int(flag)]
        return self.reason


def keep_workers(loader: Any) -> None:
    """Make the workers of a data loader deaf to signals: terminals and schedulers signal them too, and a run that is about
    to write its checkpoint still needs them. They end when they are told to, or when the run's process is gone.
    """
    for one in (loader, getattr(loader, "base_dataloader", None)):
        if one is not None:
            one.worker_init_fn = partial(_deaf, then=one.worker_init_fn)


def _deaf(worker: int, then: Callable[[int], None] | None) -> None:
    for number in NAMES:
        signal.signal(number, signal.SIG_IGN)
    if then is not None:
        then(worker)
