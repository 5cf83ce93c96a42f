"""dataset_info.json is read strictly, and everything wrong with it is found before a row is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tunesmith import TunesmithError
from tunesmith.data.dataset_info import Asked, Described, describe, names_of, read_dataset_info
from tunesmith.plugins import Plugins

PLUGIN = """
from tunesmith import FormatSpec, hookimpl

TUNESMITH_API = (1, 0)


@hookimpl
def tunesmith_formats():
    columns = {"ask": "ask", "say": "say", "system": None, "kto_tag": None}
    tags = {"role_tag": "from", "content_tag": "value"}
    kinds = ("conversation", "preference", "feedback")
    return [
        FormatSpec("talk", "nowhere:Talk", "For tests.", yields=kinds, columns=columns, tags=tags, default=True),
        FormatSpec("text", "nowhere:Text", "For tests.", yields=("document",), columns={"text": "text"}),
    ]
"""


@pytest.fixture
def plugins(tmp_path: Path) -> Plugins:
    (tmp_path / "tunesmith_local.py").write_text(PLUGIN)
    (tmp_path / "rows.json").write_text("[]")
    return Plugins(only=["local"], local=tmp_path)


def look(
    folder: Path, plugins: Plugins, entry: Any, wants: tuple[str, ...] = ("conversation",), name: str = "mine"
) -> Described:
    (folder / "dataset_info.json").write_text(json.dumps({"mine": entry}))
    return describe([name], "train", dataset_dir=str(folder), wants=wants, plugins=plugins, asked=Asked("run.yaml:3"))


def test_a_plain_entry(tmp_path: Path, plugins: Plugins) -> None:
    (tmp_path / "rows.json").write_text("[{}]")
    found = look(tmp_path, plugins, {"file_name": "rows.json"})
    assert (found.problems, found.missing) == ([], [])
    dataset = found.datasets[0]
    assert (dataset.source, dataset.format, dataset.kind, dataset.split) == ("file", "talk", "conversation", "train")
    assert (dataset.files, dataset.size) == ((str(tmp_path / "rows.json"),), 4)


def test_partial_columns_and_tags_keep_the_other_defaults(tmp_path: Path, plugins: Plugins) -> None:
    entry = {"file_name": "rows.json", "columns": {"ask": "question", "say": None}, "tags": {"role_tag": "who"}}
    dataset = look(tmp_path, plugins, entry).datasets[0]
    columns, tags = names_of(dataset, plugins.formats.get("talk").spec)
    assert columns == {"ask": "question", "say": None, "system": None, "kto_tag": None}
    assert tags == {"role_tag": "who", "content_tag": "value"}


WRONG: dict[str, tuple[dict[str, Any], str, str]] = {
    "unknown key": ({"rankng": True}, "unknown key 'rankng'", "Did you mean 'ranking'?"),
    "wrong type": ({"ranking": "yes"}, 'ranking is "yes"', "true or false"),
    "a number of samples that is a flag": ({"num_samples": True}, "num_samples is true", "a whole number"),
    "unknown format": ({"formatting": "tallk"}, "There is no format 'tallk'", "Did you mean 'talk'?"),
    "unknown column": ({"columns": {"sya": "x"}}, "unknown column 'sya' in columns", "Did you mean 'say'?"),
    "unknown tag": ({"tags": {"role": "x"}}, "unknown tag 'role' in tags", "role_tag"),
    "a column that is no name": ({"columns": {"say": 3}}, "columns.say is 3", "a name as a string"),
    "columns that are a list": ({"columns": ["say"]}, 'columns is ["say"]', "an object of names"),
    "rows nowhere": ({"file_name": None}, "does not say where its rows are", "file_name"),
    "preferences for a stage that wants none": ({"ranking": True}, "learns from conversation examples", "without"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_said_with_what_to_write(tmp_path: Path, plugins: Plugins, name: str) -> None:
    entry, what, instead = WRONG[name]
    found = look(tmp_path, plugins, {"file_name": "rows.json", **entry})
    assert not found.datasets
    told = [problem for problem in found.problems if what in problem.what]
    assert told, found.problems
    assert instead in told[0].instead
    assert told[0].where == f"{tmp_path}/dataset_info.json: mine"


def test_all_problems_come_at_once(tmp_path: Path, plugins: Plugins) -> None:
    entry = {"file_name": "rows.json", "rankng": 1, "tags": {"x": "y"}, "columns": {"z": "z"}}
    assert len(look(tmp_path, plugins, entry).problems) == 3


def test_the_kind_follows_from_the_entry_and_what_the_stage_wants(tmp_path: Path, plugins: Plugins) -> None:
    for more, wants, kind in (
        ({}, ("conversation",), "conversation"),
        ({"ranking": True}, ("preference",), "preference"),
        ({"columns": {"kto_tag": "good"}}, ("feedback",), "feedback"),
        ({"formatting": "text"}, ("document",), "document"),
        ({"formatting": "text"}, (), "document"),
    ):
        assert look(tmp_path, plugins, {"file_name": "rows.json", **more}, wants).datasets[0].kind == kind


@pytest.mark.parametrize(("wants", "hint"), [("preference", '"ranking": true'), ("feedback", '"kto_tag"')])
def test_a_stage_that_wants_more_says_what_the_entry_lacks(tmp_path: Path, plugins: Plugins, wants: str, hint: str) -> None:
    found = look(tmp_path, plugins, {"file_name": "rows.json"}, (wants,))
    assert hint in found.problems[0].instead


def test_what_is_not_here_is_missing_rather_than_wrong(tmp_path: Path, plugins: Plugins) -> None:
    gone = look(tmp_path, plugins, {"file_name": "row.json"})
    assert "There is no file" in gone.missing[0].what
    assert gone.missing[0].instead == "Did you mean 'rows.json'?"
    hub = look(tmp_path, plugins, {"hf_hub_url": "a/b"})
    assert "no installed plugin reads hf_hub_url" in hub.missing[0].what
    unknown = look(tmp_path, plugins, {"file_name": "rows.json"}, name="mien")
    assert unknown.missing[0].where == "run.yaml:3"
    assert unknown.missing[0].instead == "Did you mean 'mine'?"
    for found in (gone, hub, unknown):
        assert not found.problems


def test_of_several_places_the_first_that_can_be_read_is_taken(tmp_path: Path, plugins: Plugins) -> None:
    assert look(tmp_path, plugins, {"hf_hub_url": "a/b", "file_name": "rows.json"}).datasets[0].source == "file"


@pytest.mark.parametrize(
    ("text", "message"), [("{", "is no valid JSON"), ("[]", "holds no JSON object"), ('{"a": 3}', "is no JSON object")]
)
def test_a_file_that_cannot_be_read(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "dataset_info.json").write_text(text)
    with pytest.raises(TunesmithError, match=message):
        read_dataset_info(tmp_path)


def test_a_folder_without_the_file(tmp_path: Path, plugins: Plugins) -> None:
    found = describe(["x"], "train", dataset_dir=str(tmp_path / "no"), wants=(), plugins=plugins, asked=Asked("run.yaml:3"))
    assert "There is no" in found.missing[0].what
    assert found.missing[0].where == "run.yaml:3"


def test_entries_may_be_given_as_a_mapping(tmp_path: Path, plugins: Plugins) -> None:
    entries = {"mine": {"file_name": str(tmp_path / "rows.json")}}
    assert describe(["mine"], "train", dataset_dir=entries, wants=(), plugins=plugins).datasets[0].kind == "conversation"


def test_without_a_default_format_the_entry_must_name_one(tmp_path: Path) -> None:
    (tmp_path / "rows.json").write_text("[]")
    found = look(tmp_path, Plugins(found=[]), {"file_name": "rows.json"})
    assert "no installed format is the default" in found.missing[0].what
