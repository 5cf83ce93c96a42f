"""Whoever watches a run sees where it is: a bar on a terminal, lines elsewhere, nothing when asked to be quiet."""

from __future__ import annotations

import fcntl
import os
import re
import struct
import sys
import termios
import threading
from pathlib import Path
from typing import Any

import pytest
from tunesmith.testing.small_run import SmallStore, small_model, small_plan, small_plugins, small_rows, small_session

LINE = re.compile(r"step 2/4  loss \d.*  learning_rate .*  [\d,]+ tokens/s  (?:[\d.]+ [KMG]iB  )?0:00:\d\d left")


def run(folder: Path, **keys: Any) -> None:
    plugins = small_plugins()
    wanted = {"max_steps": 4, "logging_steps": 2, "disable_tqdm": False, **keys}
    session = small_session(small_plan(folder, plugins, "small", **wanted), plugins, SmallStore(small_rows(8)))
    session.trainer.run(session)


def run_on_a_terminal(folder: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> str:
    """What a run writes on a real terminal of a kind."""
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    said: list[bytes] = []
    reader = threading.Thread(target=_read, args=(ours, said), daemon=True)  # a terminal that nobody reads fills up
    reader.start()
    with monkeypatch.context() as patch, os.fdopen(theirs, "w") as stream:
        patch.setenv("TERM", kind)
        patch.setattr(sys, "stderr", stream)
        run(folder)
    reader.join(10)
    os.close(ours)
    return b"".join(said).decode()


def _read(end: int, said: list[bytes]) -> None:
    while True:
        try:
            part = os.read(end, 4096)
        except OSError:  # the other end is closed
            return
        said.append(part)


def test_a_file_gets_lines(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    small_model(tmp_path / "model")
    capfd.readouterr()
    run(tmp_path)
    told = capfd.readouterr()
    assert LINE.search(told.err)
    assert "\r" not in told.err
    assert told.out == ""


def test_a_terminal_gets_a_bar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = run_on_a_terminal(tmp_path, monkeypatch, "xterm")
    assert "4/4" in told
    assert "%|" in told
    assert "tokens/s" in told


def test_a_dumb_terminal_gets_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = run_on_a_terminal(tmp_path, monkeypatch, "dumb")
    assert LINE.search(told)
    assert "%|" not in told


def test_quiet_is_quiet(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    small_model(tmp_path / "model")
    capfd.readouterr()
    run(tmp_path, verbosity="error")
    told = capfd.readouterr()
    assert told.err + told.out == ""
