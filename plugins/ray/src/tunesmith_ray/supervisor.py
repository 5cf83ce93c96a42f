"""A worker of a Ray cluster: it starts one process of a run on its machine, passes signals on, and says how that ended."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import ray
from tunesmith.plan import Plan
from tunesmith.run_folder import RunFolder


class Supervisor:
    """Lives in the cluster. The run's process is a child of its own, so that it can be signalled and leaves nothing behind."""

    def __init__(self) -> None:
        self._child: subprocess.Popen[bytes] | None = None
        self._asked_to_end = False

    def place(self) -> tuple[str, str, int]:
        """The machine, its address, and a port that is free there."""
        with socket.socket() as one:
            one.bind(("", 0))
            port = int(one.getsockname()[1])
        return ray.get_runtime_context().get_node_id(), ray.util.get_node_ip_address(), port

    def run(self, plan: str, module: str, told: Mapping[str, str], folder: str) -> tuple[int, list[dict[str, Any]]]:
        """Start the process and wait for its end.

        :param plan: the plan as text.
        :param module: what to run.
        :param told: environment variables beyond this worker's own.
        :param folder: the working folder.
        :return: the exit status, negative for a signal, and what the process left word of.
        """
        place = RunFolder.new()
        try:
            place.publish(Plan.from_json(plan))
            command = [sys.executable, "-m", module, str(place.path)]
            where = folder if Path(folder).is_dir() else None
            self._child = subprocess.Popen(command, env={**os.environ, **told}, cwd=where, start_new_session=True)
            if self._asked_to_end:
                self._child.terminate()
            return self._child.wait(), [asdict(end) for end in place.ends()]
        finally:
            place.remove()

    def signal(self, number: int) -> None:
        """Pass a signal on, be the process there yet or not."""
        self._asked_to_end = True
        if self._child is not None and self._child.poll() is None:
            self._child.send_signal(signal.Signals(number))

    def store(self, output_dir: str, target: str) -> None:
        """Copy what the run wrote to a folder or URL."""
        import fsspec

        files, path = fsspec.core.url_to_fs(target)
        files.makedirs(path, exist_ok=True)
        files.put(f"{output_dir.rstrip('/')}/", f"{path.rstrip('/')}/", recursive=True)
