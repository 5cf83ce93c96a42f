"""``tunesmith new`` starts packages that pass the conformance kit as they stand."""

from __future__ import annotations

import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from tunesmith.cli.main import main
from tunesmith.scaffold import KINDS


def new(*words: str) -> int:
    return main(["new", *words])


@pytest.fixture
def packages(tmp_path: Path) -> Path:
    """A folder with one package of each kind, called ``acme-KIND``."""
    for kind in KINDS:
        assert new(kind, f"acme-{kind}", "--out", str(tmp_path / "src" / kind)) == 0
    return tmp_path / "src"


def test_every_kind_installs_and_passes_its_own_tests(packages: Path, tmp_path: Path) -> None:
    """Each is installed by pip into one folder, and its own pytest runs in a process that knows only that folder."""
    target = tmp_path / "installed"
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--target", target]
    subprocess.run([*install, *sorted(packages.iterdir())], check=True, cwd=tmp_path)
    report = tmp_path / "report.xml"
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "--import-mode=importlib",
        "-p",
        "no:cacheprovider",
        f"--junitxml={report}",
    ]
    environment = {**os.environ, "PYTHONPATH": str(target), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, f"--rootdir={packages}", *sorted(packages.glob("*/tests"))],
        cwd=packages,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    cases = [case for case in ET.parse(report).iter("testcase") if case.find("skipped") is None]
    passed = {kind: [case.get("name") for case in cases if f"{kind}.tests" in case.get("classname", "")] for kind in KINDS}
    lazy = {kind: tests for kind, tests in passed.items() if len(tests) <= 12}
    assert not lazy, "these packages test no more than the PluginSuite does"


@pytest.mark.parametrize("kind", KINDS)
def test_a_package_says_what_it_is(kind: str, tmp_path: Path) -> None:
    """README, project file, code and tests are there, and every name is filled in."""
    out = tmp_path / "acme"
    assert new(kind, "my-own", "--out", str(out)) == 0
    written = {str(file.relative_to(out)): file.read_text() for file in out.rglob("*") if file.is_file()}
    assert {"README.md", "pyproject.toml", "src/tunesmith_my_own/plugin.py", "src/tunesmith_my_own/py.typed"} <= written.keys()
    assert len([name for name in written if name.startswith("tests/")]) >= 2
    leftover = [name for name, text in written.items() if any(mark in text + name for mark in ("$", "PACKAGE", ".tmpl"))]
    assert not leftover
    assert 'my-own = "tunesmith_my_own.plugin"' in written["pyproject.toml"]


@pytest.mark.parametrize("kind", KINDS)
def test_the_code_is_clean(kind: str, tmp_path: Path) -> None:
    """What people start from has nothing for a linter to find."""
    assert new(kind, "acme", "--out", str(tmp_path / "acme")) == 0
    for words in (["check", "--select=E,F,W,B,I,UP,SIM,RET"], ["format", "--diff"]):
        command = [sys.executable, "-m", "ruff", words[0], "--isolated", "--line-length=128", *words[1:], "."]
        done = subprocess.run(command, cwd=tmp_path / "acme", capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout


def test_the_default_folder_is_named_after_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert new("reward", "exact") == 0
    assert (tmp_path / "tunesmith-exact" / "pyproject.toml").is_file()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["tunner", "acme"], "Did you mean 'tuner'?"),
        (["tuner", "My Tuner"], "Write my-tuner."),
        (["tuner", "MyTuner"], "Write my-tuner."),
        (["tuner", "2fast"], "Write fast."),
        (["tuner", "__"], "Write a name such as my-way."),
        (["tuner", "tunesmith-acme"], "Write acme."),
        (["command", "train"], "The command 'train' is already offered by defaults (tunesmith-core"),
        (["reward", "defaults"], "There is already a plugin named 'defaults'."),
    ],
)
def test_a_name_that_cannot_be_used_is_refused(
    words: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With what to write instead, exit status 2, and nothing written."""
    monkeypatch.chdir(tmp_path)
    assert new(*words) == 2
    assert said in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_folder_that_holds_something_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Also when it is a file."""
    (tmp_path / "precious.txt").write_text("mine")
    for out in (tmp_path, tmp_path / "precious.txt"):
        assert new("tuner", "acme", "--out", str(out)) == 2
        assert "holds something" in capsys.readouterr().err
    assert [file.name for file in tmp_path.iterdir()] == ["precious.txt"]
