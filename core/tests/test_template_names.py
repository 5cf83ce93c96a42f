"""Which tables of a TOML file are templates."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from tunesmith.templates import templates_in

TABLES = """
["acme-1.5"]
summary = "Acme 1.5"
user = "<u>{content}"
reply = "{content}</s>"
stop = ["</s>"]

["acme-1.5".tools]
declare = "{each tool in tools}{tool|json}{end}"

[acme]
extends = "acme-1.5"
summary = "Acme"

[acme.tools]
declare = "none"

[_hidden]
extends = "acme"
"""


def test_a_quoted_name_may_hold_a_dot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tables inside a table are none of their own, whatever their names."""
    folder = tmp_path / "acme_quoted"
    folder.mkdir()
    (folder / "__init__.py").write_text("", encoding="utf-8")
    (folder / "acme.toml").write_text(TABLES, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    assert [(spec.name, spec.summary) for spec in templates_in("acme_quoted")] == [("acme-1.5", "Acme 1.5"), ("acme", "Acme")]
    sys.modules.pop("acme_quoted", None)
