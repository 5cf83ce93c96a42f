"""A page in a process of its own, and a client on it."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tunesmith.runtime.tiny import make_tiny

QUIET = {**os.environ, "HF_HUB_OFFLINE": "1", "GRADIO_ANALYTICS_ENABLED": "False"}


def furnish(root: Path, kind: str) -> Path:
    """Put a small model (``model``) and a dataset (``few`` in ``data``) into a folder."""
    make_tiny(kind, root / "model")
    (root / "data").mkdir()
    rows = [{"instruction": f"Count to {n}", "input": "", "output": " ".join(map(str, range(n)))} for n in range(3, 9)]
    (root / "data/few.json").write_text(json.dumps(rows))
    (root / "data/dataset_info.json").write_text(json.dumps({"few": {"file_name": "few.json"}}))
    return root


@contextmanager
def shown(command: Sequence[str], folder: Path, patience: float = 180) -> Iterator[str]:
    """Where the page of ``tunesmith COMMAND`` is, while it is; it must end with status 0 when it is asked to."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    line = [sys.executable, "-m", "tunesmith.cli.main", *command, f"gradio_server_port={port}"]
    log = folder / f"{command[0]}.log"
    with log.open("w") as said:
        process = subprocess.Popen(line, cwd=folder, env=QUIET, stdout=said, stderr=subprocess.STDOUT)
    end = time.monotonic() + patience
    while "The page is at" not in log.read_text():
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < end, log.read_text()
        time.sleep(0.1)
    try:
        yield f"http://127.0.0.1:{port}/"
    finally:
        process.terminate()
        assert process.wait(60) == 0, log.read_text()
