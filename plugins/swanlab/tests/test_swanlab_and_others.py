"""Every tracker gets the losses of a real run, without a network, and no secret."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest
from tunesmith.launch import train
from tunesmith.planning import make
from tunesmith.plugins import Plugins
from tunesmith.settings import gather
from tunesmith.testing import PluginSuite
from tunesmith.testing.hand_plan import hand_plan
from tunesmith_swanlab.options import SwanLabOptions
from tunesmith_swanlab.plugin import tunesmith_check_plan
from tunesmith_swanlab.tracker import given

SECRET = "a-key-that-nobody-may-see"


class TestPlugin(PluginSuite):
    plugin = "swanlab"
    folder = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tunesmith.runtime.tiny import make_tiny

    folder = tmp_path_factory.mktemp("desk")
    make_tiny("qwen3", folder / "model")
    (folder / "rows.jsonl").write_text('{"instruction": "Say 1.", "output": "1"}\n' * 4)
    (folder / "dataset_info.json").write_text('{"rows": {"file_name": "rows.jsonl"}}')
    return folder


@pytest.fixture(autouse=True)
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No network, and every tracker's files below the test's own folder."""
    monkeypatch.chdir(tmp_path)
    places = {"WANDB_MODE": "offline", "WANDB_DIR": str(tmp_path), "WANDB_SILENT": "true", "WANDB_PROJECT": "demo"}
    places |= {"MLFLOW_TRACKING_URI": f"file:{tmp_path}/mlruns", "MLFLOW_ALLOW_FILE_STORE": "true"}
    places |= {"TRACKIO_DIR": str(tmp_path / "trackio"), "HF_HUB_OFFLINE": "1", "GIT_PYTHON_REFRESH": "quiet"}
    for name, value in places.items():
        monkeypatch.setenv(name, value)
    return


def run(desk: Path, out: Path, **keys: Any) -> list[float]:
    """Train two steps and return the losses."""
    wanted = {"model_name_or_path": str(desk / "model"), "dataset": "rows", "dataset_dir": str(desk), "template": "qwen3"}
    wanted |= {"data_cache_dir": str(desk / "cache"), "output_dir": str(out / "saves"), "max_steps": 2, "logging_steps": 1}
    plugins = Plugins()
    plan = make(
        gather(plugins, {**wanted, "save_strategy": "no", "lora_rank": 2, "hub_token": SECRET, **keys}), plugins, "train"
    )
    plan.check_ready()
    train(plan, plugins)
    history = json.loads((out / "saves" / "trainer_state.json").read_text())["log_history"]
    return [entry["loss"] for entry in history if "loss" in entry]


def assert_no_secret_in(folder: Path) -> None:
    found = [file for file in folder.rglob("*") if file.is_file() and SECRET.encode() in file.read_bytes()]
    assert not found


def test_wandb_gets_the_losses(desk: Path, tmp_path: Path) -> None:
    import wandb

    losses = run(desk, tmp_path, report_to="wandb")
    wandb.finish()
    (file,) = tmp_path.glob("wandb/offline-run-*/*.wandb")
    written = file.read_bytes()
    assert b"train/loss" in written
    for loss in losses:
        assert repr(loss).encode() in written
    assert_no_secret_in(tmp_path)


def test_mlflow_gets_the_losses(desk: Path, tmp_path: Path) -> None:
    import mlflow

    losses = run(desk, tmp_path, report_to="mlflow")
    mlflow.end_run()
    (file,) = tmp_path.glob("mlruns/*/*/metrics/loss")
    assert [float(line.split()[1]) for line in file.read_text().splitlines()] == pytest.approx(losses)
    assert_no_secret_in(tmp_path)


def test_trackio_gets_the_losses(desk: Path, tmp_path: Path) -> None:
    """In a process of its own: trackio reads its folder once, when it is imported, and trl imports it too."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        losses = pool.submit(run, desk, tmp_path, report_to="trackio", project="demo").result(timeout=300)
    (file,) = (tmp_path / "trackio").glob("*.db")
    with sqlite3.connect(file) as store:
        rows = [json.loads(row[0]) for row in store.execute("select metrics from metrics order by step")]
    assert [row["train/loss"] for row in rows if "train/loss" in row] == pytest.approx(losses)
    assert_no_secret_in(tmp_path)


@pytest.mark.parametrize("keys", [{"report_to": "swanlab"}, {"use_swanlab": True}, {"report_to": "tensorboard,swanlab"}])
def test_swanlab_gets_a_run(desk: Path, tmp_path: Path, keys: dict[str, Any]) -> None:
    import swanlab

    run(desk, tmp_path, **keys, swanlab_mode="offline", swanlab_logdir=str(tmp_path / "swan"), swanlab_api_key=SECRET)
    assert not swanlab.has_run()
    assert list((tmp_path / "swan").rglob("*run-*"))
    assert any(b"train/loss" in file.read_bytes() for file in (tmp_path / "swan").rglob("*") if file.is_file())
    assert_no_secret_in(tmp_path)


def test_what_is_told_of_a_run_holds_no_secret() -> None:
    plan = hand_plan(SwanLabOptions(swanlab_api_key=SECRET, swanlab_lark_secret=SECRET, swanlab_project="demo"))
    assert given(plan) == {"swanlab_api_key": "***", "swanlab_lark_secret": "***", "swanlab_project": "demo"}


def test_a_secret_without_a_bot_is_told() -> None:
    plan = hand_plan(SwanLabOptions(swanlab_lark_secret="x"), picked={"trackers": "swanlab"})
    (problem,) = tunesmith_check_plan(plan)
    assert "swanlab_lark_webhook_url" in problem.instead
    assert not list(tunesmith_check_plan(replace(plan, chosen=())))
