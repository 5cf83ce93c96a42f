"""How the emulated device is compiled and kept; what it does is tested by the backends that stand on it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from tunesmith.errors import TunesmithError
from tunesmith.testing.emulator import building, why_not

needs_compiler = pytest.mark.skipif(bool(why_not()), reason=f"no device can be emulated: {why_not()}")


def test_it_says_why_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(building, "compiler", lambda: None)
    monkeypatch.setattr(sys, "platform", "linux")
    assert "no C++ compiler" in why_not()
    with pytest.raises(TunesmithError, match="No device can be emulated: there is no C"):
        building.library.__wrapped__()
    monkeypatch.setattr(sys, "platform", "darwin")
    assert why_not() == "the emulated device is built on Linux only, and this is darwin"


def test_the_compiler_can_be_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    own = tmp_path / "own-compiler"
    own.write_text("#!/bin/sh\n")
    own.chmod(0o755)
    monkeypatch.setenv("CXX", str(own))
    assert building.compiler() == str(own)


@needs_compiler
def test_it_is_compiled_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    calls: list[Path] = []
    monkeypatch.setenv("TUNESMITH_CACHE", str(tmp_path))
    monkeypatch.setattr(building, "_compile", lambda target: (calls.append(target), target.write_bytes(b"made")))
    made = building.library.__wrapped__()
    assert building.library.__wrapped__() == made
    assert made.read_bytes() == b"made"
    assert len(calls) == 1
    assert list(made.parent.iterdir()) == [made]
    monkeypatch.setattr(building, "version", lambda _: "another torch")
    assert building.library.__wrapped__() != made


@needs_compiler
def test_what_the_compiler_says_is_passed_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    source = tmp_path / "device.cpp"
    source.write_text("int main() { return nonsense; }\n")
    monkeypatch.setenv("TUNESMITH_CACHE", str(tmp_path))
    monkeypatch.setattr(building, "SOURCE", source)
    with pytest.raises(TunesmithError, match="nonsense"):
        building.library.__wrapped__()
    assert not list(tmp_path.rglob("*.so"))
