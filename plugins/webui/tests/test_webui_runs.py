"""The page of runs: files of one folder, plans, processes that are started, watched and stopped."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from gradio_client import Client
from gradio_client.exceptions import AppError
from tunesmith import TunesmithError
from tunesmith.plugins import Plugins
from tunesmith_webui.desk import Desk
from tunesmith_webui.folder import Folder
from tunesmith_webui.jobs import Jobs

from .serving import furnish, shown

RUN = {
    "model_name_or_path": "model",
    "stage": "sft",
    "finetuning_type": "lora",
    "dataset": "few",
    "dataset_dir": "data",
    "template": "auto",
    "output_dir": "saves/one",
    "max_steps": 2000,
    "logging_steps": 1,
    "report_to": "none",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return furnish(tmp_path_factory.mktemp("webui"), "llama")


@pytest.fixture(scope="module")
def page(folder: Path) -> Iterator[str]:
    with shown(["webui"], folder) as address:
        yield address


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(Plugins(), Folder(tmp_path), Jobs(tmp_path / "logs"))


def text(**keys: Any) -> str:
    return yaml.safe_dump({**RUN, **keys}, sort_keys=False)


def until(client: Client, job: str, done: str, patience: float = 150) -> dict[str, Any]:
    """The log and the curve of a job, once ``done`` is in its log or status."""
    end = time.monotonic() + patience
    while True:
        _, status, log, curve = client.predict(job, api_name="/look")
        if done in status or done in log:
            return {"status": status, "log": log, "curve": curve}
        assert time.monotonic() < end, (status, log)
        time.sleep(0.3)


def test_a_run_is_planned_started_watched_and_stopped(page: str, folder: Path) -> None:
    client = Client(page, verbose=False)
    assert "saves/one" in client.predict("train", "run.yaml", text(), api_name="/plan")
    job = client.predict("train", "run.yaml", text(), api_name="/start")["value"]
    assert yaml.safe_load((folder / "run.yaml").read_text()) == RUN
    with pytest.raises(AppError, match="is running and writes"):
        client.predict("train", "other.yaml", text(), api_name="/start")
    while not (folder / "saves/one/trainer_log.jsonl").is_file():
        assert until(client, job, "")["status"] == "**running**"
        time.sleep(0.3)
    another = Client(page, verbose=False)  # a second browser sees what the first has started
    assert until(another, job, "running")["curve"]
    another.predict(job, api_name="/stop")
    assert "running" not in until(client, job, "ended")["status"]
    assert ["saves/one", "stopped"] in [row[:2] for row in client.predict(api_name="/runs")["data"]]


def test_a_run_of_somebody_else_is_shown_and_stopped(page: str, folder: Path) -> None:
    (folder / "theirs.yaml").write_text(text(output_dir="saves/theirs"))
    command = [sys.executable, "-m", "tunesmith.cli.main", "train"]
    with subprocess.Popen([*command, "theirs.yaml"], cwd=folder, stderr=subprocess.DEVNULL) as process:
        client = Client(page, verbose=False)
        while not (folder / "saves/theirs/trainer_log.jsonl").is_file():
            assert process.poll() is None
            time.sleep(0.3)
        names, status, _, _ = client.predict("saves/theirs", api_name="/look")
        assert "saves/theirs" in [choice[0] for choice in names["choices"]]
        assert status == "**running**"
        for key in ("overwrite_output_dir", "resume_from_checkpoint"):
            again = [*command, "theirs.yaml", f"{key}=true"]
            done = subprocess.run(again, cwd=folder, capture_output=True, text=True, check=False)
            assert done.returncode == 2
            assert f"is being written by process {process.pid}" in done.stderr
        client.predict("saves/theirs", api_name="/stop")
        assert process.wait(100) == 130
    assert not (folder / "saves/theirs/.lock").exists()


def test_everything_wrong_with_a_configuration_is_shown(page: str) -> None:
    told = Client(page, verbose=False).predict("train", "bad.yaml", text(dataset="fev", lora_rank=-1), api_name="/plan")
    assert "fev" in told
    assert "lora_rank" in told
    with pytest.raises(AppError, match="lora_rank"):
        Client(page, verbose=False).predict("train", "bad.yaml", text(lora_rank=-1), api_name="/start")


@pytest.mark.parametrize("name", ["../out.yaml", "/etc/hosts.yaml", "link/out.yaml", "run.sh", "", " "])
def test_nothing_outside_the_folder_is_read_or_written(desk: Desk, name: str) -> None:
    (desk.folder.root / "link").symlink_to(desk.folder.root.parent)
    for work in (lambda: desk.folder.read(name), lambda: desk.folder.write(name, "a: 1")):
        with pytest.raises(TunesmithError, match=r"lies outside|no name of a configuration file"):
            work()


def test_a_key_is_put_where_it_stands_or_at_the_end(desk: Desk) -> None:
    assert desk.put("stage: sft  # so\nlora_rank: 8\n", "lora_rank", "16") == "stage: sft  # so\nlora_rank: 16\n"
    assert desk.put("lora_rank: 8  # small\n", "lora_rank", "16") == "lora_rank: 16  # small\n"
    assert desk.put("stage: sft\n", "lora_rank", "16") == "stage: sft\nlora_rank: 16\n"
    with pytest.raises(TunesmithError, match="no key 'lora_rnk'"):
        desk.put("", "lora_rnk", "16")
    with pytest.raises(TunesmithError, match="no YAML"):
        desk.put("", "lora_rank", "[")


@pytest.mark.parametrize(
    ("before", "value"),
    [
        ("lora_target:\n  - q_proj\n  - v_proj\n", "all"),
        ("{stage: sft, lora_target: all}\n", "q_proj"),
        ("stage: sft\n", "a: b"),
    ],
)
def test_a_key_is_never_put_where_that_says_something_else(desk: Desk, before: str, value: str) -> None:
    with pytest.raises(TunesmithError, match="cannot be put there"):
        desk.put(before, "lora_target", value)


def test_a_file_of_a_folder_that_is_not_there_is_told(desk: Desk) -> None:
    with pytest.raises(TunesmithError, match="cannot be written"):
        desk.folder.write("none/run.yaml", "stage: sft")


def test_keys_and_commands_are_those_that_are_installed(desk: Desk) -> None:
    assert {"train", "export"} <= set(desk.commands())
    assert len(set(desk.commands())) == len(desk.commands())
    assert not {"chat", "api", "webui"} & set(desk.commands())
    assert "default `8`" in desk.about("lora_rank")


def test_what_has_ended_cannot_be_stopped(desk: Desk) -> None:
    with pytest.raises(TunesmithError, match="is not running"):
        desk.stop("1 train run.yaml")
