"""Where the configuration comes from, what is translated or left out aloud, and what is refused. No torch."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tunesmith import Scene, TunesmithError, settings
from tunesmith.plan import Spread
from tunesmith.plugins import Plugins
from tunesmith.testing import PluginSuite
from tunesmith.testing.small_run import small_plan, small_plugins
from tunesmith_fsdp.choice import notices, wanted
from tunesmith_fsdp.config import NOTHING_ALONE, FsdpConfig, read_config
from tunesmith_fsdp.plugin import tunesmith_check_plan

PLUGINS: Plugins = small_plugins(fsdp="tunesmith_fsdp.plugin")


class TestPlugin(PluginSuite):
    plugin = "fsdp"
    folder = Path(__file__).parents[1]


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({"fsdp": True}, FsdpConfig()),
        ({"fsdp": "full_shard auto_wrap offload"}, FsdpConfig(offload=True)),
        ({"fsdp": "shard_grad_op"}, FsdpConfig(reshard=False)),
        ({"fsdp": True, "fsdp_config": {"fsdp_reshard_after_forward": "false", "version": 2}}, FsdpConfig(reshard=False)),
        ({"fsdp": True, "fsdp_config": {"fsdp_sharding_strategy": "SHARD_GRAD_OP"}}, FsdpConfig(reshard=False)),
        ({"fsdp": True, "fsdp_config": {"transformer_layer_cls_to_wrap": "A, B"}}, FsdpConfig(layers=("A", "B"))),
        ({"fsdp": True, "fsdp_config": {"min_num_params": "1000"}}, FsdpConfig(least=1000)),
        ({"fsdp": True, "fsdp_config": {"auto_wrap_policy": "NO_WRAP"}}, FsdpConfig(least=NOTHING_ALONE)),
        ({"parallelism_config": {"dp_replicate_size": 2, "dp_shard_size": 4, "tp_size": 1}}, FsdpConfig(copies=2, parts=4)),
    ],
)
def test_many_words_mean_the_same(keys: dict[str, Any], expected: FsdpConfig) -> None:
    assert wanted(Scene(keys.get, {}))
    assert read_config(keys.get, {}, Path()) == (expected, [])


@pytest.mark.parametrize(
    ("old", "value", "new"),
    [
        ("fsdp_min_num_params", 10, "min_num_params"),
        ("fsdp_transformer_layer_cls_to_wrap", "B", "transformer_layer_cls_to_wrap"),
    ],
)
def test_old_keys_become_settings(old: str, value: Any, new: str) -> None:
    assert settings.read(PLUGINS, {old: value}, environ={}).value("fsdp_config") == {new: value}


def test_a_file_is_found_beside_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "f.json").write_text(json.dumps({"min_num_params": 5}))
    (tmp_path / "f.yaml").write_text("min_num_params: 6\n")
    for name, least in (("f.json", 5), ("f.yaml", 6)):
        assert read_config({"fsdp": True, "fsdp_config": name}.get, {}, tmp_path)[0].least == least


def test_what_changes_nothing_is_left_out_aloud() -> None:
    values = {"fsdp": True, "fsdp_config": {"fsdp_state_dict_type": "FULL_STATE_DICT", "use_orig_params": True}}
    said = notices(Scene(values.get, {}))
    assert ["state_dict_type is left out" in said[0], "FSDP2 does without" in said[1]] == [True, True]


def test_accelerate_launch_can_ask_for_it() -> None:
    told = {"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2", "FSDP_OFFLOAD_PARAMS": "true", "FSDP_STATE_DICT_TYPE": "x"}
    assert wanted(Scene({}.get, told)) == "accelerate launch asks for it"
    assert read_config({}.get, told, Path())[0] == FsdpConfig(offload=True)
    assert not wanted(Scene({}.get, {}))
    assert not wanted(Scene({"fsdp": False}.get, {}))


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"fsdp": "full_shrad"}, "fsdp knows no 'full_shrad'"),
        ({"fsdp_config": {"version": 1}}, "there is no version 1"),
        ({"fsdp_config": {"ofload_params": True}}, "fsdp_config knows no ofload_params"),
        ({"fsdp_config": {"offload_params": "maybe"}}, "offload_params is true or false"),
        ({"fsdp_config": {"sharding_strategy": "NO_SHARD"}}, "shares nothing out"),
        ({"fsdp_config": {"xla": True}}, "needs a TPU"),
        ({"fsdp_config": "absent.json"}, "there is no FSDP configuration absent.json"),
        ({"parallelism_config": {"tp_size": 2}}, "asks for tensor parallelism, which fsdp does not do"),
        ({"parallelism_config": {"dp_size": 2}}, "parallelism_config knows no dp_size"),
    ],
)
def test_what_cannot_be_done_is_said(keys: dict[str, Any], message: str) -> None:
    with pytest.raises(TunesmithError, match=message):
        read_config({"fsdp": True, **keys}.get, {}, Path())


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"fp16": True}, "fp16 with fsdp"),
        ({"torch_compile": True}, "torch_compile with fsdp"),
        ({"fsdp_config": {"version": 1}}, "there is no version 1"),
        ({"parallelism_config": {"dp_shard_size": 3}}, "3 parts × 1 copies are not the 2 processes"),
    ],
)
def test_what_would_fail_later_is_a_problem_of_the_plan(tmp_path: Path, keys: dict[str, Any], message: str) -> None:
    plan = small_plan(tmp_path, PLUGINS, "small", picked={"strategies": "fsdp"}, fsdp=True, **keys)
    plan = replace(plan, spread=Spread(2, 2, "weights"))
    assert any(message in problem.what for problem in tunesmith_check_plan(plan))


def test_sizes_without_fsdp_are_no_silence(tmp_path: Path) -> None:
    plan = small_plan(tmp_path, PLUGINS, "small", parallelism_config={"dp_replicate_size": 2})
    assert ["has no effect" in problem.what for problem in tunesmith_check_plan(plan)] == [True]
