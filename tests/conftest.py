"""What several tests of the whole repository share: its packages as wheels, built once per test run."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from checkout import CORE, ROOT, plugin_packages

#: Somebody else's packages: their tests run where they are installed, by test_third_party.py.
collect_ignore = ["third_party"]

UNWANTED = shutil.ignore_patterns("build", "*.egg-info", "__pycache__", ".*_cache")


@pytest.fixture(scope="session")
def wheelhouse(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a wheel of every package. Processes of one test run share it; the first one builds."""
    base = tmp_path_factory.getbasetemp()
    shared = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "wheelhouse"
    shared.mkdir(exist_ok=True)
    with (shared / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (shared / "wheels").is_dir():
            _build(shared / "sources", shared / "making")
            (shared / "making").rename(shared / "wheels")
    return shared / "wheels"


def _build(sources: Path, wheels: Path) -> None:
    """Build from copies, so that nothing is left behind in the checkout."""
    copies = [sources / package.folder.relative_to(ROOT) for package in (CORE, *plugin_packages())]
    for copy in copies:
        shutil.copytree(ROOT / copy.relative_to(sources), copy, ignore=UNWANTED)
    pip = ["-m", "pip", "--disable-pip-version-check", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([sys.executable, *pip, "--wheel-dir", wheels, *copies], check=True)
