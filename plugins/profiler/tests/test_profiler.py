"""The profiler: traces of a real run, and what a plan or a model cannot give it."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tunesmith.config import Setting
from tunesmith.errors import TunesmithError
from tunesmith.testing import PluginSuite
from tunesmith.testing.hand_plan import hand_plan
from tunesmith.testing.small_run import SmallStore, small_model, small_plan, small_plugins, small_rows, small_session
from tunesmith.testing.tiny_models import tiny_llama
from tunesmith_profiler.options import ProfilerOptions
from tunesmith_profiler.plugin import PROFILER, tunesmith_check_plan
from tunesmith_profiler.tracker import name_modules


class TestPlugin(PluginSuite):
    plugin = "profiler"
    folder = Path(__file__).parents[1]


def run(folder: Path, **keys: Any) -> Path:
    small_model(folder / "model")
    plugins = small_plugins(tested="tunesmith_profiler.plugin", sft="tunesmith_sft.plugin")
    picked = {"trackers": PROFILER.name} if keys.get("enable_torch_profiler") else {}
    given = {"model_name_or_path": str(folder / "model"), "max_steps": 5, "logging_steps": 1, **keys}
    plan = small_plan(folder, plugins, "sft", picked=picked, **given)
    session = small_session(plan, plugins, SmallStore(small_rows(10)))
    try:
        session.trainer.run(session)
    finally:
        session.close()
    return session.output_dir


def test_each_cycle_writes_a_trace_and_a_table(tmp_path: Path) -> None:
    modules = ("*.layers.0.mlp",)
    keys = {"profiler_repeat": 2, "profiler_wait_steps": 0, "profiler_with_stack": False, "profile_modules": modules}
    folder = run(tmp_path, enable_torch_profiler=True, **keys) / "profiler"
    assert sorted(file.name for file in folder.iterdir()) == [
        *("rank0-step2.json.gz", "rank0-step2.txt", "rank0-step4.json.gz", "rank0-step4.txt")
    ]
    trace = json.loads(gzip.decompress((folder / "rank0-step2.json.gz").read_bytes()))
    names = [event.get("name", "") for event in trace["traceEvents"]]
    assert sum(name.endswith(".layers.0.mlp") for name in names) >= 1
    assert any(name.startswith("aten::") for name in names)
    assert "Self CPU" in (folder / "rank0-step4.txt").read_text()


def test_no_hook_stays_and_a_wrong_name_is_told() -> None:
    model = tiny_llama()
    hooks = list(name_modules(model, ("*.mlp",)))
    assert len(hooks) == 2 * model.config.num_hidden_layers
    for hook in hooks:
        hook.remove()
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    with pytest.raises(TunesmithError, match=r"no module of the model is called \*\.nothing"):
        list(name_modules(model, ("*.mlp", "*.nothing")))


def test_a_plan_says_what_records_nothing() -> None:
    short = hand_plan(ProfilerOptions(enable_torch_profiler=True), picked={"trackers": PROFILER.name}, max_steps=2)
    assert [one.what for one in tunesmith_check_plan(short)] == ["max_steps: 2 ends before a profile does, after 3 steps"]
    unused = {"profile_modules": Setting(("*.mlp",), "run.yaml:3", "profiler", given=True)}
    off = replace(hand_plan(max_steps=2), unused=unused)
    assert [one.what for one in tunesmith_check_plan(off)] == ["profile_modules says what to record, and nothing is"]


def test_the_peak_of_memory_is_logged(tmp_path: Path) -> None:
    history = json.loads((run(tmp_path, record_vram=True) / "trainer_state.json").read_text())["log_history"]
    assert all("peak_memory_gib" in entry for entry in history if "loss" in entry)
