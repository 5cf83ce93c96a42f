"""Each suite catches plugins that are wrong: the packages of ``tunesmith new``, which pass, with one thing changed."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import pytest
from tunesmith.plugins import Plugins
from tunesmith.scaffold import KINDS, Names, start_package

TABLES = tomllib.loads(Path(__file__).with_name("kit_faults.toml").read_text(encoding="utf-8"))
FAULTS = [
    pytest.param(kind, what, marks=[pytest.mark.long] if fault.get("long") else [])
    for kind, faults in TABLES.items()
    for what, fault in faults.items()
]

_number = count()


@dataclass
class Results:
    """A pytest plugin that keeps what failing tests print."""

    failed: list[str] = field(default_factory=list)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Called for each phase of each test."""
        if report.failed:
            self.failed.append(report.longreprtext)


@pytest.fixture
def spoil(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Starts a package of a kind, changes one thing, makes it look installed, and gives the folder of its tests."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    folder = tmp_path / "package"
    monkeypatch.syspath_prepend(folder / "src")
    monkeypatch.setenv("PYTHONPATH", str(folder / "src"))

    def start(kind: str, file: str, old: str, new: str, **_: object) -> Path:
        names = Names(f"spoiled-{next(_number)}")
        (spoiled,) = [path for path in start_package(kind, names.name, folder, Plugins(found=[])) if path.name == file]
        assert old in spoiled.read_text()
        spoiled.write_text(spoiled.read_text().replace(old, new))
        installed = folder / "src" / f"{names.package}-1.0.dist-info"
        installed.mkdir()
        (installed / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {names.distribution}\nVersion: 1.0\n")
        (installed / "entry_points.txt").write_text(f"[tunesmith]\n{names.name} = {names.package}.plugin\n")
        return folder / "tests"

    return start


def test_every_kind_is_tried() -> None:
    """Commands have no suite of their own; test_kit_run_suites.py and test_kit_KIND_suite.py have the others."""
    assert TABLES.keys() == KINDS.keys() - {"command", "tuner", "accelerator", "backend", "quantizer", "strategy"}


@pytest.mark.parametrize(("kind", "what"), FAULTS)
def test_a_fault_is_caught(kind: str, what: str, spoil: Callable[..., Path]) -> None:
    """By the test that is for it."""
    fault, results = TABLES[kind][what], Results()
    tests = spoil(kind, **fault)
    words = ["-q", "-p", "no:cacheprovider", "-p", "no:faulthandler", "-k", fault["test"], f"--rootdir={tests.parents[2]}"]
    pytest.main([*words, "-c", str(tests.parent / "pyproject.toml"), str(tests)], plugins=[results])
    assert results.failed, "nothing failed"
    assert any(fault.get("said", "assert") in said for said in results.failed), results.failed[0]
