"""Training from a stream: resumed losses are exactly those of the uninterrupted run, however many workers read."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib.metadata import EntryPoint
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from tunesmith.data.dataset_info import describe
from tunesmith.data.flow import prepare
from tunesmith.data.stream import Place, StreamBlock
from tunesmith.errors import TunesmithError
from tunesmith.plugins import Plugins
from tunesmith.runtime.artefacts import finish
from tunesmith.runtime.session import Session, open_session
from tunesmith.runtime.streaming import Blocks, StreamedRows
from tunesmith.testing.small_run import small_losses, small_plan

PLUGIN = """
from tunesmith import FormatSpec, hookimpl
from tunesmith.contracts import Format
from tunesmith.data.columns import Row
from tunesmith.data.conversation import Conversation, Text, Turn

TUNESMITH_API = (1, 0)


class Talk(Format):
    def __init__(self, columns, tags):
        self.columns = columns

    def read(self, row, kind):
        said = Row(row, self.columns).items("talk", needed=True)
        return Conversation(tuple(Turn("assistant" if i % 2 else "user", (Text(text),)) for i, text in enumerate(said)))


@hookimpl
def tunesmith_formats():
    required = {"conversation": ("talk",)}
    return [FormatSpec("talk", "tunesmith_local:Talk", "For tests.", yields=("conversation",), columns={"talk": "talk"},
                       required=required, default=True)]
"""
#: Blocks of 5 rows and batches of 2: places lie within blocks, and 12 steps go beyond one epoch.
KEYS: dict[str, Any] = {
    "streaming": True,
    "buffer_size": 6,
    "preprocessing_batch_size": 5,
    "cutoff_len": 64,
    "max_steps": 12,
    "save_steps": 5,
    "save_strategy": "steps",
}


def session(folder: Path, **keys: Any) -> Session:
    folder.mkdir(exist_ok=True)
    (folder / "tunesmith_local.py").write_text(PLUGIN)
    if not (folder / "talk.jsonl").exists():
        rows = [{"talk": [f"user says {i}", "good morning " * (i % 5 + 1)]} for i in range(19)]
        (folder / "talk.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "dataset_info.json").write_text('{"talk": {"file_name": "talk.jsonl"}}')
    plugins = Plugins(found=[EntryPoint("small", "tunesmith.testing.small_parts", "tunesmith")], local=folder)
    given = {**KEYS, **keys}
    plan = small_plan(folder, plugins, "small", data_cache_dir=str(folder / "cache"), **given)
    found = describe(("talk",), "train", dataset_dir=str(folder), wants=("conversation",), plugins=plugins)
    plan = replace(plan, datasets=tuple(found.datasets), only=("local",), local=str(folder))
    return open_session(plan, plugins, prepare(plan, plugins))


def run(folder: Path, **keys: Any) -> tuple[Session, list[float]]:
    opened = session(folder, **keys)
    opened.trainer.run(opened)
    return opened, small_losses(opened)


@pytest.mark.parametrize("packing", [False, True])
@pytest.mark.parametrize("workers", [0, 2])
def test_resumed_losses_are_those_of_the_uninterrupted_run(tmp_path: Path, workers: int, packing: bool) -> None:
    keys = {"packing": packing, "gradient_accumulation_steps": 2}
    whole, losses = run(tmp_path, **keys)
    assert len(losses) == 12
    assert isinstance(whole.train_data, StreamedRows)
    assert whole.train_data.place is not None
    assert whole.train_data.place.epoch >= 1
    opened, resumed = run(
        tmp_path, **keys, dataloader_num_workers=workers, resume_from_checkpoint=str(tmp_path / "out" / "checkpoint-5")
    )
    assert resumed == losses
    assert isinstance(opened.train_data, StreamedRows)
    assert opened.train_data.live.report(opened.prepared.report) == whole.train_data.live.report(whole.prepared.report)
    log = json.loads((tmp_path / "out" / "trainer_state.json").read_text())["log_history"]
    assert [entry["epoch"] for entry in log if "loss" in entry] == pytest.approx([step / 12 for step in range(1, 13)])


def test_processes_share_the_blocks_out(tmp_path: Path) -> None:
    stream = session(tmp_path).prepared.stream
    assert stream is not None
    for process in (0, 1):
        found = [block.place for block in islice(Blocks(stream, Place(), (process, 2)), 5) if isinstance(block, StreamBlock)]
        assert [place.number for place in found] == [process + 2 * turn for turn in range(5)]
        rest = list(islice(Blocks(stream, found[2], (process, 2)), 3))
        assert [block.place for block in rest if isinstance(block, StreamBlock)] == found[2:]


def test_the_place_in_the_data_matters(tmp_path: Path) -> None:
    _, losses = run(tmp_path)
    opened = session(tmp_path, resume_from_checkpoint=str(tmp_path / "out" / "checkpoint-5"))
    assert isinstance(opened.train_data, StreamedRows)
    opened.train_data.given -= 1
    opened.trainer.run(opened)
    assert small_losses(opened)[5:] != losses[5:]


def test_reading_leaves_the_runs_random_numbers_alone(tmp_path: Path) -> None:
    opened = session(tmp_path)
    assert isinstance(opened.train_data, StreamedRows)
    before = torch.random.get_rng_state()
    next(iter(opened.train_data.loader(2, lambda rows: rows)))
    assert torch.equal(torch.random.get_rng_state(), before)


def test_the_report_is_written_with_checkpoints_and_at_the_end(tmp_path: Path) -> None:
    opened = session(tmp_path)
    outcome = opened.trainer.run(opened)
    finish(opened, outcome)
    early = json.loads((tmp_path / "out" / "checkpoint-5" / "data_report.json").read_text())
    final = json.loads((tmp_path / "out" / "data_report.json").read_text())
    assert early["sources"][0]["rows_in"] == 10
    assert (final["sources"][0]["rows_in"], final["views"][0]["name"]) == (19, "train")


def test_changed_data_is_refused(tmp_path: Path) -> None:
    run(tmp_path, max_steps=5)
    with (tmp_path / "talk.jsonl").open("a") as file:
        file.write('{"talk": ["a", "b"]}\n')
    with pytest.raises(TunesmithError, match="cannot be continued: data changed"):
        session(tmp_path, resume_from_checkpoint=True)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_malformed_line_is_told_as_it_is(tmp_path: Path, workers: int) -> None:
    opened = session(tmp_path, dataloader_num_workers=workers)
    (tmp_path / "talk.jsonl").write_text('{"talk": ["a", "b"]}\n{"talk": \n')
    with pytest.raises(TunesmithError, match=r"talk.jsonl:2: this line is no valid JSON"):
        opened.trainer.run(opened)


def test_empty_data_ends_the_run(tmp_path: Path) -> None:
    opened = session(tmp_path)
    (tmp_path / "talk.jsonl").write_text("")
    with pytest.raises(TunesmithError, match="talk: there are no rows to learn from"):
        opened.trainer.run(opened)
