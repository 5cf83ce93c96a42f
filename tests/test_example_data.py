"""The demo datasets can be read to the last row, and are what their README says."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from tunesmith.data.columns import fill
from tunesmith.data.conversation import Call, Example
from tunesmith.data.dataset_info import describe, names_of
from tunesmith.plan import DatasetPlan
from tunesmith.plugins import Plugins

FOLDER = Path(__file__).parents[1] / "examples" / "data"
NAMES = tuple(json.loads((FOLDER / "dataset_info.json").read_text(encoding="utf-8")))
KINDS = {"dpo_en_demo": "preference", "dpo_zh_demo": "preference", "kto_en_demo": "feedback", "c4_demo": "document"}


@pytest.fixture(scope="module")
def plugins() -> Plugins:
    return Plugins()


def described(name: str, plugins: Plugins) -> DatasetPlan:
    found = describe([name], "train", dataset_dir=str(FOLDER), wants=(KINDS.get(name, "conversation"),), plugins=plugins)
    assert not found.problems + found.missing
    return found.datasets[0]


def rows(dataset: DatasetPlan, plugins: Plugins) -> list[Any]:
    source = plugins.sources.get(dataset.source).load()(dataset, None)
    return [row for _, row in source.rows()]


def examples(name: str, plugins: Plugins) -> list[Example]:
    dataset = described(name, plugins)
    offer = plugins.formats.get(dataset.format)
    format = offer.load()(*names_of(dataset, offer.spec))
    words = dataset.entry.get("placeholders", {})
    return [format.read(fill(dict(row), words), dataset.kind) for row in rows(dataset, plugins)]


@pytest.mark.parametrize("name", NAMES)
def test_every_row_can_be_read_and_none_is_there_twice(name: str, plugins: Plugins) -> None:
    found = examples(name, plugins)
    assert 20 <= len(found) <= 100
    assert len({repr(example) for example in found}) == len(found)


@pytest.mark.parametrize("name", NAMES)
def test_the_readme_counts_the_rows(name: str, plugins: Plugins) -> None:
    text = (FOLDER / "README.md").read_text(encoding="utf-8")
    line = next(line for line in text.splitlines() if line.startswith("|") and f"`{name}`" in line)
    names, _, counts = (cell.strip() for cell in line.strip("|").split("|")[:3])
    counted = dict(zip(re.findall(r"`(\w+)`", names), counts.split(", "), strict=True))
    assert int(counted[name]) == len(rows(described(name, plugins), plugins))


def test_names_and_makers_are_filled_in(plugins: Plugins) -> None:
    told = repr(examples("identity", plugins))
    assert "I am Tunesmith" in told
    assert "{{" not in told


def test_tools_that_are_called_are_declared(plugins: Plugins) -> None:
    for name in ("toolcall_en_demo", "toolcall_zh_demo", "openai_tools_demo"):
        for talk in examples(name, plugins):
            declared = {tool["function"]["name"]: tool["function"]["parameters"] for tool in talk.tools}
            for call in (part for turn in talk.turns for part in turn.parts if isinstance(part, Call)):
                assert set(declared[call.name]["required"]) <= set(call.arguments) <= set(declared[call.name]["properties"])
