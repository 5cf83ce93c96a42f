"""What somebody else wrote from the documentation alone works against the wheels of this repository."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from checkout import ROOT

SOURCES = ROOT / "tests" / "third_party"
PACKAGES = sorted(path.parent.name for path in SOURCES.glob("*/pyproject.toml"))
#: What each offers, as ``tunesmith plugins`` lists it.
OFFERS = {
    "acme-backend": ("backends", "acme"),
    "acme-format": ("formats", "transcript"),
    "acme-reward": ("rewards", "brevity"),
    "acme-template": ("templates", "acme"),
    "acme-tuner": ("tuners", "scale"),
}


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory, wheelhouse: Path) -> Path:
    """A folder into which pip installed every wheel of this repository and the five packages."""
    work = tmp_path_factory.mktemp("third_party")
    copies = [shutil.copytree(SOURCES / name, work / "sources" / name) for name in PACKAGES]
    pip = ["-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([sys.executable, *pip, "--target", work / "site", *sorted(wheelhouse.glob("*.whl")), *copies], check=True)
    return work


def run(installed: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Python with the installed folder before everything else, away from the checkout."""
    environment = {**os.environ, "PYTHONPATH": str(installed / "site"), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, *words]
    return subprocess.run(command, cwd=installed, env=environment, capture_output=True, text=True, check=False)


def test_there_are_five() -> None:
    assert list(OFFERS) == PACKAGES


def test_the_installed_wheels_are_what_is_tested(installed: Path) -> None:
    """Neither the host nor a package of theirs comes from the checkout."""
    names = ", ".join(["tunesmith", *(name.replace("-", "_") for name in PACKAGES)])
    found = run(installed, "-c", f"import {names}\nfor module in ({names}): print(module.__file__)")
    assert not found.stderr
    assert all(Path(line).is_relative_to(installed / "site") for line in found.stdout.splitlines())


def test_the_host_lists_them(installed: Path) -> None:
    """Each under its axis, with its package and version, and nothing is broken."""
    listed = run(installed, "-m", "tunesmith.cli.main", "plugins").stdout
    for name, (axis, offer) in OFFERS.items():
        assert f"{name}  {name} 1.0.0" in listed
        assert offer in next(line for line in listed.split(f"{name} 1.0.0")[1].splitlines() if axis in line)
    assert "broken" not in listed.lower()


@pytest.mark.parametrize("name", PACKAGES)
def test_its_own_tests_pass(name: str, installed: Path) -> None:
    """With the conformance suites that it brings."""
    check_own_tests(name, installed, "not long")


@pytest.mark.long
def test_its_own_long_tests_pass(installed: Path) -> None:
    """Two processes on two emulated cards."""
    check_own_tests("acme-backend", installed, "long")


def check_own_tests(name: str, installed: Path, marked: str) -> None:
    source = installed / "sources" / name
    words = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "--import-mode=importlib", "-m", marked]
    done = run(installed, *words, f"--rootdir={source}", str(source / "tests"))
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-1000:]
    assert " passed" in done.stdout
