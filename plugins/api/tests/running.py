"""A server as users start it: the command, in a process of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import urllib.request
from pathlib import Path
from typing import Any

MODEL = "gpt-3.5-turbo"


class Running:
    """``tunesmith api`` with further words, once it answers."""

    def __init__(self, *words: str, **environ: str) -> None:
        env = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", **environ}
        line = [sys.executable, "-m", "tunesmith.cli.main", "api", "--port", "0", *words]
        self.process = subprocess.Popen(line, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        self.log: list[str] = []
        self._reader = threading.Thread(target=self.log.extend, args=(self.process.stderr,), daemon=True)
        self._reader.start()
        self.said = self.process.stdout.readline()
        assert " at http" in self.said, f"it did not start: {self.log}"
        self.url = self.said.partition(" at ")[2].split("/v1")[0]
        self.port = int(self.url.rpartition(":")[2])

    def get(self, path: str, key: str = "") -> str:
        """A page, as text."""
        request = urllib.request.Request(self.url + path, headers={"Authorization": f"Bearer {key}"})
        with urllib.request.urlopen(request, timeout=30) as answer:
            return str(answer.read().decode())

    def number(self, name: str, key: str = "") -> float:
        """One of the numbers of ``/metrics``, all its labels together."""
        lines = (line for line in self.get("/metrics", key).splitlines() if line.partition("{")[0].split()[0] == name)
        return sum(float(line.split()[-1]) for line in lines)

    def memory(self) -> int:
        """Resident memory of the process, in bytes."""
        status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="utf-8")
        return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmRSS"))

    def end(self, seconds: float = 60) -> int:
        """Ask it to end; returns its exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(seconds)

    def close(self) -> None:
        """End it, whatever state it is in."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self._reader.join(5)


def post(url: str, body: Any, **headers: str) -> tuple[int, dict[str, str], Any]:
    """Status, headers and body of an answer."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    sent = {"Content-Type": "application/json", **{name.replace("_", "-"): value for name, value in headers.items()}}
    try:
        answer = urllib.request.urlopen(urllib.request.Request(url, data, sent), timeout=60)
    except urllib.error.HTTPError as error:
        answer = error
    with answer:
        text = answer.read().decode()
    return answer.status, {name.lower(): value for name, value in answer.headers.items()}, json.loads(text) if text else None
