"""Where the configuration comes from, what is laid over it, what is translated, and what is refused. No torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tunesmith import Scene, TunesmithError
from tunesmith.plugins import Plugins
from tunesmith.testing import PluginSuite
from tunesmith.testing.small_run import small_plan, small_plugins
from tunesmith_deepspeed.choice import notices, shards, wanted
from tunesmith_deepspeed.config import read_config
from tunesmith_deepspeed.plugin import tunesmith_check_plan

PLUGINS: Plugins = small_plugins(deepspeed="tunesmith_deepspeed.plugin")


class TestPlugin(PluginSuite):
    plugin = "deepspeed"
    folder = Path(__file__).parents[1]


def test_a_mapping_is_laid_over_the_file_and_what_is_missing_is_auto(tmp_path: Path) -> None:
    (tmp_path / "z.json").write_text(json.dumps({"zero_optimization": {"stage": 2, "overlap_comm": True}}))
    config, said = read_config("z.json", {"zero_optimization": {"stage": 3}, "steps_per_print": 5}, tmp_path)
    assert config["zero_optimization"] == {"stage": 3, "overlap_comm": True}
    assert (config["train_batch_size"], config["bf16"], config["steps_per_print"]) == ("auto", {"enabled": "auto"}, 5)
    assert said == []


def test_spellings_of_old_are_translated_aloud() -> None:
    old = {"zero_optimization": {"stage": 3, "cpu_offload": True, "cpu_offload_params": True}}
    config, said = read_config(old, None, Path())
    assert config["zero_optimization"] == {
        "stage": 3,
        "offload_optimizer": {"device": "cpu"},
        "offload_param": {"device": "cpu"},
    }
    assert "cpu_offload_params: true is now offload_param" in said[1]
    assert old["zero_optimization"]["cpu_offload"] is True  # the user's mapping is left alone


@pytest.mark.parametrize(
    ("base", "message"),
    [
        ("absent.json", "there is no DeepSpeed configuration absent.json"),
        ("broken.json", "no valid JSON"),
        ({"zero_optimization": {"stage": 4}}, "no stage 4"),
    ],
)
def test_what_cannot_be_read_is_said(tmp_path: Path, base: Any, message: str) -> None:
    (tmp_path / "broken.json").write_text("{")
    with pytest.raises(TunesmithError, match=message):
        read_config(base, None, tmp_path)


@pytest.mark.parametrize(("stage", "parts"), [(0, "nothing"), (1, "optimizer"), (2, "optimizer"), (3, "weights")])
def test_the_stage_decides_what_is_shared_out(stage: int, parts: str) -> None:
    values = {"deepspeed": {"zero_optimization": {"stage": stage}}}
    scene = Scene(values.get, {})
    assert wanted(scene) == "deepspeed"
    assert shards(scene) == parts
    assert notices(scene) == []


def test_accelerate_launch_can_ask_for_it() -> None:
    scene = Scene({}.get, {"ACCELERATE_USE_DEEPSPEED": "true", "ACCELERATE_DEEPSPEED_ZERO_STAGE": "3"})
    assert wanted(scene)
    assert shards(scene) == "weights"
    assert not wanted(Scene({}.get, {}))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"train_micro_batch_size_per_gpu": 7}, "train_micro_batch_size_per_gpu is 7, and per_device_train_batch_size is 2"),
        ({"zero_optimization": {"stage": 2, "offload_param": {"device": "cpu"}}}, "offload_param needs stage 3"),
    ],
)
def test_what_deepspeed_would_refuse_is_a_problem_of_the_plan(tmp_path: Path, config: dict[str, Any], message: str) -> None:
    plan = small_plan(tmp_path, PLUGINS, "small", picked={"strategies": "deepspeed"}, deepspeed=config)
    assert any(message in problem.what for problem in tunesmith_check_plan(plan))
