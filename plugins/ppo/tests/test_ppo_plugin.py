"""That the package is a good plugin, whatever it offers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from tunesmith.plan import Spread
from tunesmith.testing import PluginSuite
from tunesmith.testing.small_run import small_plan, small_plugins
from tunesmith_ppo.plugin import tunesmith_check_plan


class TestPlugin(PluginSuite):
    """The tests that every plugin passes."""

    plugin = "ppo"
    folder = Path(__file__).parents[1]


def test_a_model_in_parts_is_refused_whatever_asks_for_them(tmp_path: Path) -> None:
    plan = small_plan(tmp_path, small_plugins(tested="tunesmith_ppo.plugin"), "ppo", reward_funcs=("variety",))
    for shards in ("nothing", "optimizer", "weights"):
        said = [one.what for one in tunesmith_check_plan(replace(plan, spread=Spread(2, 2, shards)))]
        assert any("answers with the model that learns" in one for one in said) == (shards != "nothing")
