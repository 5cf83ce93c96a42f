"""A real cluster of two machines' worth of workers on this one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ray.cluster_utils import Cluster
from tunesmith import TunesmithError
from tunesmith.plan import Plan
from tunesmith.testing.small_run import small_plan, small_plugins
from tunesmith_ray.launcher import RayLauncher

PLUGINS = small_plugins(ray="tunesmith_ray.plugin")
HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_AUTH_MODE", "disabled")  # or it writes a token into the home folder
        made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
        made.add_node(num_cpus=1)
        yield made
        made.shutdown()


def plan_for(folder: Path, cluster: Cluster, **keys: Any) -> Plan:
    folder.mkdir(exist_ok=True)
    given = {"use_ray": True, "ray_num_workers": 2, "placement_strategy": "STRICT_SPREAD"}
    given |= {"ray_init_kwargs": {"address": cluster.address}, "max_steps": 4, "save_strategy": "steps", "save_steps": 2}
    return small_plan(folder, PLUGINS, "small", picked={"launchers": "ray"}, **{**given, **keys})


def launched(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.chdir(HERE)  # where the child's module lies
    launcher = RayLauncher(plan)
    launcher.module = "ray_child"
    return launcher.spread(plan, lambda same: 1)


def test_two_machines_do_one_run_which_is_copied(tmp_path: Path, cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = plan_for(tmp_path / "a", cluster, ray_storage_path=str(tmp_path / "store"), ray_run_name="mine")
    assert launched(plan, monkeypatch) == 0
    held = json.loads((tmp_path / "a/out/checkpoint-4/manifest.json").read_text())["files"]
    assert {"rng-0.json", "rng-1.json"} <= set(held)
    assert len({(tmp_path / f"a/out/node-{rank}").read_text() for rank in (0, 1)}) == 2
    assert (tmp_path / "store/mine/checkpoint-4/model.safetensors").is_file()


@pytest.mark.long
def test_a_worker_that_dies_is_started_again_or_ends_the_run(
    tmp_path: Path, cluster: Cluster, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert launched(plan_for(tmp_path / "b", cluster, run_name="dies", ray_max_failures=1), monkeypatch) == 0
    assert json.loads((tmp_path / "b/out/trainer_state.json").read_text())["global_step"] == 4
    assert "all are started again (1 of 1)" in capfd.readouterr().err
    assert launched(plan_for(tmp_path / "c", cluster, run_name="dies"), monkeypatch) == 1


def test_no_room_is_said(tmp_path: Path, cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = plan_for(tmp_path / "d", cluster, resources_per_worker={"CPU": 8}, ray_wait=1)
    with pytest.raises(TunesmithError, match="no room for 2 workers"):
        launched(plan, monkeypatch)
