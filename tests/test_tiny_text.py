"""The shipped text is what its script writes, so that nobody edits one without the other."""

from __future__ import annotations

from pathlib import Path

import pytest

make_tiny_text = pytest.importorskip("make_tiny_text", reason="tools/ is not on the path")


def test_the_script_writes_the_shipped_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shipped = {file.name: file.read_bytes() for file in make_tiny_text.FOLDER.glob("*.txt")}
    monkeypatch.setattr(make_tiny_text, "FOLDER", tmp_path)
    make_tiny_text.main()
    assert shipped == {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    assert 60_000 < sum(map(len, shipped.values())) < 150_000
