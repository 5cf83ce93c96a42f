"""The commands of the Makefile say what is wrong in a line, and .ci/run passes on what pytest says."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
from checkout import ROOT


def call(*command: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a command in the checkout; what make and pytest tell their children about themselves is kept from it."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS", "PYTEST_"))}
    return subprocess.run(command, cwd=ROOT, env={**kept, **variables}, capture_output=True, text=True, check=False)


def program(path: Path, script: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def test_every_command_is_explained() -> None:
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    (phony,) = re.findall(r"^\.PHONY: (.*)$", text, re.MULTILINE)
    explained = call("make", "help").stdout
    assert not [name for name in phony.split() if name != "help" and f"make {name}" not in explained]


def test_no_python_is_one_line(tmp_path: Path) -> None:
    said = call("make", "install", f"VENV={tmp_path / 'venv'}", "PYTHON=/nowhere/python3")
    assert said.returncode
    assert said.stdout == "There is no '/nowhere/python3' here. Name a Python 3.11 or newer: make PYTHON=/path/to/python3\n"
    assert not (tmp_path / "venv").exists()


def test_an_old_python_is_one_line(tmp_path: Path) -> None:
    old = program(tmp_path / "python3", 'if [ "$1" = -V ]; then echo "Python 3.9.2"; else exit 1; fi')
    said = call("make", "install", f"VENV={tmp_path / 'venv'}", f"PYTHON={old}")
    assert said.returncode
    assert said.stdout.startswith("Tunesmith needs Python 3.11 or newer")
    assert "Python 3.9.2" in said.stdout


def test_a_failing_pip_shows_its_end_and_where_the_log_is(tmp_path: Path) -> None:
    venv = tmp_path / "venv"
    program(venv / "bin" / "python", "seq 1 100; echo 'no such version' >&2; exit 1")
    (venv / ".made").touch()
    said = call("make", "install", f"VENV={venv}")
    assert said.returncode
    assert "pip could not install" in said.stdout
    assert "no such version" in said.stdout
    assert f"The whole log is in {venv}/install.log." in said.stdout
    assert len(said.stdout.splitlines()) < 20


@pytest.mark.parametrize("status", [0, 1, 5])
def test_ci_exits_and_ends_as_pytest_does(tmp_path: Path, status: int) -> None:
    venv = tmp_path / "venv"
    program(venv / "bin" / "python", f"echo '3 passed'; exit {status}")
    (venv / ".made").touch()
    (venv / ".installed").touch()
    said = call(".ci/run", VENV=str(venv))
    assert said.returncode == status
    assert (said.stdout + said.stderr).splitlines()[-1] == "3 passed"


def test_ci_fails_when_the_environment_cannot_be_made(tmp_path: Path) -> None:
    assert call(".ci/run", VENV=str(tmp_path / "venv"), PYTHON="/nowhere/python3").returncode
