"""When it is asked for, and what the plan refuses. No torch."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tunesmith import Scene
from tunesmith.plan import Spread
from tunesmith.plugins import Plugins
from tunesmith.testing import PluginSuite
from tunesmith.testing.small_run import small_plan, small_plugins
from tunesmith_tensor_parallel.choice import TOLD, TOLD_SIZE, wanted
from tunesmith_tensor_parallel.plugin import NAME, tunesmith_check_plan

PLUGINS: Plugins = small_plugins(tested="tunesmith_tensor_parallel.plugin")


class TestPlugin(PluginSuite):
    plugin = "tensor-parallel"
    folder = Path(__file__).parents[1]


def test_its_key_or_accelerate_launch_asks_for_it() -> None:
    assert wanted(Scene({"tp_size": 2}.get, {})) == "tp_size: 2"
    assert not wanted(Scene({"tp_size": 1}.get, {}))
    assert wanted(Scene({}.get, {TOLD: "true", TOLD_SIZE: "2"}))
    assert not wanted(Scene({}.get, {TOLD_SIZE: "2"}))


@pytest.mark.parametrize(
    ("keys", "processes", "message"),
    [
        ({}, 2, ""),
        ({}, 4, "splits layers over 2 processes, and the run has 4"),
        ({"tp_size": 3}, 3, "does not divide the 4 num_attention_heads of the policy model"),
        ({"tp_size": 4}, 4, "does not divide the 2 num_key_value_heads of the policy model"),
        ({"fp16": True}, 2, "fp16 with tp_size"),
        ({"streaming": True}, 2, "all need the same"),
        ({"predict_with_generate": True}, 2, "would answer other prompts"),
        ({"train_from_scratch": True}, 2, "while weights are read"),
    ],
)
def test_what_cannot_be_is_a_problem_of_the_plan(tmp_path: Path, keys: dict[str, Any], processes: int, message: str) -> None:
    plan = small_plan(tmp_path, PLUGINS, "small", picked={"strategies": NAME}, **{"tp_size": 2, **keys})
    plan = replace(plan, spread=Spread(processes, 2, "weights"))
    said = [problem.what for problem in tunesmith_check_plan(plan)]
    assert any(message in one for one in said) if message else said == []


def test_accelerates_size_is_that_of_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TOLD, "true")
    monkeypatch.setenv(TOLD_SIZE, "4")
    plan = small_plan(tmp_path, PLUGINS, "small", picked={"strategies": NAME}, tp_size=2)
    assert ["accelerate launch asks for tp_size: 4" in one.what for one in tunesmith_check_plan(plan)] == [True]
