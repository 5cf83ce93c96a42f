"""The plugin's package, and what the plan refuses. No Ray."""

from __future__ import annotations

from pathlib import Path

from tunesmith import Scene
from tunesmith.testing import PluginSuite
from tunesmith.testing.small_run import small_plan, small_plugins
from tunesmith_ray.choice import processes
from tunesmith_ray.plugin import tunesmith_check_plan


class TestPlugin(PluginSuite):
    plugin = "ray"
    folder = Path(__file__).parents[1]


def test_a_run_has_a_process_for_each_worker() -> None:
    assert processes(Scene({"ray_num_workers": 3}.get, {})) == 3


def test_resources_are_numbers(tmp_path: Path) -> None:
    plugins = small_plugins(ray="tunesmith_ray.plugin")
    plan = small_plan(tmp_path, plugins, "small", picked={"launchers": "ray"}, resources_per_worker={"GPU": "one"})
    assert ["GPU is a number from 0" in problem.what for problem in tunesmith_check_plan(plan)] == [True]
