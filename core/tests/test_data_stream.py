"""Streams: the rows of the prepared flow in an order that needs no list of them, cut into blocks that can be made again."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from dataclasses import replace
from itertools import count, islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tunesmith import TunesmithError
from tunesmith.data.dataset_info import describe
from tunesmith.data.flow import Prepared, prepare
from tunesmith.data.live_report import LiveReport
from tunesmith.data.mix import mix
from tunesmith.data.report import Report
from tunesmith.data.store import TokenStore
from tunesmith.data.stream import Place, Stream, StreamBlock
from tunesmith.data.stream_order import mixed, shuffled
from tunesmith.defaults.local_files import LocalFiles
from tunesmith.host_options import DataOptions, ModelOptions
from tunesmith.plan import ModelWish
from tunesmith.plugins import Plugins
from tunesmith.testing.hand_plan import hand_plan
from tunesmith.testing.small_tokenizers import write_tokenizer

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
TEMPLATE = """[small]
summary = "For tests"
user = "<|im_start|>{content}<|im_end|>"
prompt = "<s>"
reply = "{content}<|im_end|>"
stop = ["<|im_end|>"]
"""
ROWS = [{"talk": [f"user says {i}", "good morning " * (i % 7 + 1), "again", f"hello {i}"]} for i in range(40)]
STILL: dict[str, Any] = {"disable_shuffling": True}
NONE: dict[str, Any] = {}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (write_tokenizer(tmp_path / "model") / "config.json").write_text("{}")
    (tmp_path / "tunesmith_local.py").write_text(PLUGIN)
    (tmp_path / "small.toml").write_text(TEMPLATE)
    for name, rows in {"one": ROWS, "two": ROWS[:7]}.items():
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "dataset_info.json").write_text(json.dumps({name: {"file_name": f"{name}.jsonl"} for name in ("one", "two")}))
    return tmp_path


def prepared(folder: Path, *names: str, more: dict[str, Any] = NONE, **options: Any) -> Prepared:
    plugins = Plugins(only=["local"], local=folder)
    usual = {"template": f"{folder}/small.toml:small", "data_cache_dir": str(folder / "cache"), "preprocessing_batch_size": 8}
    data = DataOptions(**{**usual, **options})
    plan = hand_plan(data, ModelOptions(model_name_or_path=str(folder / "model")), seed=5, **more)
    found = describe(names or ("one",), "train", dataset_dir=str(folder), wants=("conversation",), plugins=plugins)
    wish = {"policy": ModelWish("policy", str(folder / "model"))}
    plan = replace(plan, datasets=tuple(found.datasets), models=wish, only=("local",), local=str(folder))
    return prepare(plan, plugins)


def streamed(folder: Path, *names: str, more: dict[str, Any] = NONE, **options: Any) -> Stream:
    stream = prepared(folder, *names, more=more, streaming=True, **options).stream
    assert stream is not None
    return stream


def blocks(stream: Stream, epochs: int = 1, start: Place | None = None) -> list[StreamBlock]:
    found = []
    for block in stream.blocks(start or Place(), lambda number: True):
        if block.place.epoch >= epochs:
            break
        found.append(block)
    return found


def counted(stream: Stream, epochs: int = 1) -> LiveReport:
    live = LiveReport(stream)
    for block in blocks(stream, epochs):
        live.add(block)
    return live


def ids(examples: Any) -> list[list[int]]:
    return [example["tokens"].ids.tolist() for example in examples]


def all_ids(found: list[StreamBlock]) -> list[list[int]]:
    return [row for block in found for row in ids(block.examples)]


# ---- order -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shares", [(), (0.2, 0.5, 0.3)])
@pytest.mark.parametrize("sizes", [(3, 5, 2), (1, 1, 9), (4, 4, 4), (0, 3, 2), (0, 0, 3)])
@pytest.mark.parametrize("strategy", ["concat", "interleave_under", "interleave_over", "interleave_once"])
def test_streams_are_mixed_as_row_numbers_are(strategy: str, sizes: tuple[int, ...], shares: tuple[float, ...]) -> None:
    shares = () if strategy == "concat" else shares
    rows = [np.arange(size) + 100 * number for number, size in enumerate(sizes)]
    found = list(mixed([lambda part=part: iter(part.tolist()) for part in rows], strategy, shares, 3))
    assert [taken.row for taken in found] == mix(rows, strategy, shares, 3).tolist()
    assert all(taken.row // 100 == taken.dataset for taken in found)
    seen: set[int] = set()
    for taken in found:
        assert taken.again == (taken.row in seen)
        seen.add(taken.row)


def test_the_buffer_gives_each_row_once_in_an_order_of_its_seed() -> None:
    first = list(shuffled(range(100), 10, (1, 0)))
    assert sorted(first) == list(range(100)) != first
    assert first == list(shuffled(range(100), 10, (1, 0))) != list(shuffled(range(100), 10, (1, 1)))
    assert all(row <= at + 10 for at, row in enumerate(first))


def test_no_more_is_read_than_the_buffer_and_the_block_need(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = 0

    def endless(self: LocalFiles) -> Iterator[tuple[str, Any]]:
        nonlocal read
        for read in count(1):
            yield f"row {read}", ROWS[read % 40]

    monkeypatch.setattr(LocalFiles, "rows", endless)
    found = list(islice(streamed(folder, buffer_size=20).blocks(Place(), lambda number: True), 3))
    assert [len(block.examples) for block in found] == [8, 8, 8]
    assert 24 <= read <= 24 + 20 + 1


# ---- the same as prepared --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"mask_history": True, "cutoff_len": 24},
        {"train_on_prompt": True},
        {"cutoff_len": 20},
        {"cutoff_len": 48, "overflow": "drop"},
        {"mix_strategy": "interleave_once"},
    ],
)
def test_examples_are_those_of_the_prepared_flow(folder: Path, options: dict[str, Any]) -> None:
    whole = prepared(folder, "one", "two", **options)
    assert whole.train is not None
    store = TokenStore.open(whole.train)
    stream = streamed(folder, "one", "two", more=STILL, **options)
    found = blocks(stream)
    examples = [example["tokens"] for block in found for example in block.examples]
    assert [one.ids.tolist() for one in examples] == [store[i]["tokens"].ids.tolist() for i in range(len(store))]
    assert [one.weights.tolist() for one in examples] == [store[i]["tokens"].weights.tolist() for i in range(len(store))]
    live = counted(stream, epochs=2)
    told = [replace(source, notes=()) for source in live.report(Report()).sources]
    assert told == [replace(source, notes=()) for source in whole.report.sources]
    assert "read once from end to end" in live.sources()[0].notes


def test_packs_hold_each_row_of_their_block_once(folder: Path) -> None:
    rows, packs = blocks(streamed(folder)), blocks(streamed(folder, packing=True, cutoff_len=96))
    for plain, packed in zip(rows, packs, strict=True):
        cut = [
            part.tolist()
            for example in packed.examples
            for part in np.split(example["tokens"].ids, np.asarray(example["starts"])[1:])
        ]
        assert sorted(cut) == sorted(ids(plain.examples))
        assert all(len(example["tokens"].ids) <= 96 for example in packed.examples)
    assert sum(len(block.examples) for block in packs) < 40


# ---- places ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("packing", [False, True])
def test_a_stream_goes_on_from_any_block_and_in_another_process(folder: Path, packing: bool) -> None:
    stream = streamed(folder, "one", "two", mix_strategy="interleave_over", buffer_size=9, packing=packing)
    whole = blocks(stream, epochs=2)
    assert all_ids([block for block in whole if block.place.epoch]) != all_ids([b for b in whole if not b.place.epoch])
    for number, block in enumerate(whole):
        again = copy.copy(stream)  # as it is sent to a worker: made again from the plan
        rest = blocks(again, epochs=2, start=block.place)
        assert [one.place for one in rest] == [one.place for one in whole[number:]]
        assert all_ids(rest) == all_ids(whole[number:])


def test_the_first_rows_are_set_aside(folder: Path) -> None:
    found = prepared(folder, "one", "two", streaming=True, val_size=5.0, more=STILL)
    assert found.stream is not None
    store = TokenStore.open(found.evals["eval"])
    aside = [store[i]["tokens"].ids.tolist() for i in range(len(store))]
    learned = all_ids(blocks(found.stream))
    whole = all_ids(blocks(streamed(folder, "one", "two", more=STILL)))
    assert aside == [*whole[:3], *whole[40:42]]
    assert learned == [*whole[3:40], *whole[42:]]
    assert found.train is None


def test_the_key_changes_with_what_decides_the_order_and_not_with_chance(folder: Path) -> None:
    assert streamed(folder).key == streamed(folder).key
    assert streamed(folder).key != streamed(folder, buffer_size=7).key
    assert prepared(folder, streaming=True).fingerprint != prepared(folder, streaming=True, cutoff_len=9).fingerprint


# ---- bad rows --------------------------------------------------------------------------------------------------------


def test_bad_rows_are_counted_once_and_too_many_end_the_run(folder: Path) -> None:
    with (folder / "one.jsonl").open("a") as file:
        file.write('{"talk": 3}\n')
    live = counted(streamed(folder, max_bad_rows=1), epochs=3)
    assert live.report(Report()).bad_rows == 1
    assert live.sources()[0].rows_in == 41
    with pytest.raises(TunesmithError, match=r"one: bad row: .*one.jsonl:41"):
        counted(streamed(folder))


def test_a_column_that_is_nowhere_is_named(folder: Path) -> None:
    (folder / "one.jsonl").write_text('{"tlak": ["a", "b"]}\n')
    with pytest.raises(TunesmithError, match=r"no row of .* has the column 'talk'"):
        counted(streamed(folder))


def test_a_stream_without_anything_to_learn_ends(folder: Path) -> None:
    with pytest.raises(TunesmithError, match="Nothing of one is left to learn from"):
        counted(streamed(folder, cutoff_len=3, overflow="drop"), epochs=3)
    (folder / "one.jsonl").write_text("")
    assert list(streamed(folder).blocks(Place(), lambda number: True)) == []


def test_what_was_counted_goes_on_from_its_state(folder: Path) -> None:
    whole, first = counted(streamed(folder), epochs=2), LiveReport(streamed(folder))
    for block in blocks(first.stream)[:3]:
        first.add(block)
    second = LiveReport(first.stream)
    second.load(first.state())
    for block in blocks(first.stream, epochs=2)[3:]:
        second.add(block)
    assert second.report(Report()) == whole.report(Report())
