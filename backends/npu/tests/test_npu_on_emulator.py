"""Runs ``on_emulator.py`` in a process of its own: a process can emulate one device, and never again be without."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tunesmith.testing.emulator import why_not

HERE = Path(__file__).parent


@pytest.mark.skipif(bool(why_not()), reason=f"no device can be emulated: {why_not()}")
def test_the_backend_passes_its_suite_on_an_emulated_device() -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--import-mode=importlib", f"--rootdir={HERE}"]
    environment = {**os.environ, "PYTHONPATH": str(HERE), "HF_HUB_OFFLINE": "1"}
    environment.pop("PYTEST_ADDOPTS", None)
    words = ["-c", os.devnull, str(HERE / "on_emulator.py")]
    done = subprocess.run([*command, *words], env=environment, cwd=HERE, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-1000:]
    assert " passed" in done.stdout
    assert "failed" not in done.stdout
