"""``serve_adapters`` is taken apart, and means nothing to a run without an engine."""

from __future__ import annotations

from pathlib import Path

import pytest
from tunesmith import TunesmithError, api
from tunesmith.further_adapters import further_adapters, named_paths
from tunesmith.runtime.tiny import make_tiny


def test_a_name_and_a_path_make_an_entry() -> None:
    assert named_paths(("a=x/y", " b = c=d ")) == {"a": "x/y", "b": "c=d"}
    assert named_paths(()) == {}


@pytest.mark.parametrize("entry", ["a", "=x", "a=", ""])
def test_another_form_is_an_error(entry: str) -> None:
    with pytest.raises(TunesmithError, match="not of the form name=path"):
        named_paths((entry,))


def test_a_plan_knows_them_by_name(tmp_path: Path) -> None:
    keys = {"model_name_or_path": str(make_tiny("llama", tmp_path / "model", layers=1)), "serve_adapters": "a=./nowhere"}
    plan = api.plan(keys, command="chat")
    assert further_adapters(plan) == {"a": "./nowhere"}
    assert any("serve_adapters" in problem.what for problem in plan.missing)
