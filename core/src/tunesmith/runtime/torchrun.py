"""The launcher ``torchrun``: torch's elastic agent starts a process for each device, and all of them again when one fails.

The agent is used by its API, with arguments as a list. Signals are passed on by us, since the agent would give its processes
half a minute to end, and a checkpoint may take longer.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Any

from torch.distributed.elastic.multiprocessing import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from tunesmith.contracts import Launcher
from tunesmith.defaults.launch_options import LaunchOptions
from tunesmith.defaults.launchers import machines
from tunesmith.run_folder import RunFolder
from tunesmith.runtime.first_failure import INTERRUPTED, FailureReport

if TYPE_CHECKING:
    from tunesmith.plan import Plan

SIGNALS = (signal.SIGTERM, signal.SIGINT)
#: Where processes of several machines meet unless master_port says so; torchrun's own default.
PORT = 29500
#: torch's switch for a new store each time the processes start, instead of the agent's, which keeps what was said before.
STORE_OF_ITS_OWN = "TORCH_DISABLE_SHARE_RDZV_TCP_STORE"


class TorchrunLauncher(Launcher):
    """Starts ``python -m tunesmith.worker`` once for each device of this machine, and waits."""

    module = "tunesmith.worker"

    def __init__(self, plan: Plan) -> None:
        self._options = plan.options(LaunchOptions)
        self._devices = plan.spread.devices
        self._asked_to_end = 0

    def spread(self, plan: Plan, work: Callable[[Plan], int]) -> int:
        """Start the processes and return when all have ended.

        :raises TunesmithError: a user's mistake ended one of them.
        """
        logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)  # what it would say is said here
        if self._options.max_restarts:  # else processes that start again meet at addresses of those that are gone
            os.environ.setdefault(STORE_OF_ITS_OWN, "1")
        folder = RunFolder.new()
        try:
            folder.publish(plan)
            with self._passing_on(folder):
                return self._run(folder)
        finally:
            folder.remove()

    def _run(self, folder: RunFolder) -> int:
        report = FailureReport(folder)
        try:
            with report.watching():
                elastic_launch(self.config(), sys.executable)("-m", self.module, str(folder.path))
        except SignalException:
            return INTERRUPTED
        except ChildFailedError as error:
            if self._asked_to_end:
                return INTERRUPTED
            return report.conclude({rank: failure.exitcode for rank, failure in error.failures.items()})
        return INTERRUPTED if any(end.status == INTERRUPTED for end in folder.ends()) else 0

    def config(self) -> LaunchConfig:
        """How many processes, and where they meet."""
        options = self._options
        least, most = machines(vars(options).__getitem__)
        several = most > 1 or options.rdzv_id is not None
        where: dict[str, Any] = {"rdzv_backend": "c10d", "rdzv_endpoint": "localhost:0", "local_addr": "localhost"}
        if several:
            where = {"rdzv_endpoint": f"{options.master_addr}:{options.master_port or PORT}", "rdzv_backend": "c10d"}
            if options.rdzv_id is None:
                where |= {"rdzv_backend": "static", "rdzv_configs": {"rank": options.node_rank}}
        elif options.master_port is not None:
            where["rdzv_endpoint"] = f"localhost:{options.master_port}"
        return LaunchConfig(
            min_nodes=least,
            max_nodes=most,
            nproc_per_node=options.nproc_per_node or self._devices,
            run_id=options.rdzv_id or (uuid.uuid4().hex if not several else "tunesmith"),
            role="tunesmith",
            max_restarts=options.max_restarts,
            signals_to_handle="SIGHUP,SIGQUIT",
            shutdown_timeout=5,
            **where,
        )

    @contextmanager
    def _passing_on(self, folder: RunFolder) -> Iterator[None]:
        """A first signal goes to every process, which then writes its share of a checkpoint; a second ends them."""

        def pass_on(number: int, frame: FrameType | None) -> None:
            self._asked_to_end += 1
            if self._asked_to_end > 1:
                raise SignalException("asked a second time", sigval=signal.Signals(number))
            folder.signal(number)

        if threading.current_thread() is not threading.main_thread():
            yield  # only the main thread may install handlers
            return
        before = {number: signal.signal(number, pass_on) for number in SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
