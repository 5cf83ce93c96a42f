"""A whole preparation from a hub: one commit for all, told in the report, and part of what prepared data is found by."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tunesmith import launch, planning, settings
from tunesmith.data.flow import Prepared, prepare
from tunesmith.errors import TunesmithError
from tunesmith.plan import Plan
from tunesmith.plugins import Plugins
from tunesmith.runtime.tiny import make_tiny

A, B = "a" * 40, "b" * 40


def rows(*answers: str) -> str:
    return "".join(json.dumps({"instruction": "Say it.", "output": answer}) + "\n" for answer in answers)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny("llama", tmp_path_factory.mktemp("tiny") / "model")


def planned(model: Path, folder: Path, **entry: Any) -> tuple[Plan, Plugins]:
    (folder / "dataset_info.json").write_text(json.dumps({"mine": {"hf_hub_url": "acme/dialogues", **entry}}))
    plugins = Plugins()
    values = {"model_name_or_path": str(model), "dataset": "mine", "dataset_dir": str(folder)}
    plan = planning.make(settings.gather(plugins, values), plugins, "data")
    plan.check_ready()
    return launch.fetch(plan, plugins), plugins


def prepared(model: Path, folder: Path, **entry: Any) -> Prepared:
    return prepare(*planned(model, folder, **entry))


def test_the_commit_is_told_and_decides_what_is_prepared_anew(world: Any, model: Path, tmp_path: Path) -> None:
    world.add("datasets/acme/dialogues", {"train.jsonl": rows("one", "two")}, A)
    first = prepared(model, tmp_path)
    assert f"taken from huggingface at {A}" in first.report.sources[0].notes
    assert first.report.sources[0].kept == 2
    assert prepared(model, tmp_path).report.cached
    world.add("datasets/acme/dialogues", {"train.jsonl": rows("one", "two"), "more.txt": ""}, B)  # the same rows
    second = prepared(model, tmp_path)
    assert f"taken from huggingface at {B}" in second.report.sources[0].notes
    assert second.fingerprint != first.fingerprint
    assert prepared(model, tmp_path, revision=A).report.sources[0].notes == first.report.sources[0].notes


def test_a_branch_that_moves_after_the_plan_is_fetched_changes_nothing(world: Any, model: Path, tmp_path: Path) -> None:
    world.add("datasets/acme/dialogues", {"train.jsonl": rows("old")}, A)
    plan, plugins = planned(model, tmp_path)
    assert plan.datasets[0].version == A
    world.add("datasets/acme/dialogues", {"train.jsonl": rows("new", "newer")}, B)
    assert prepare(Plan.from_json(plan.to_json()), plugins).report.sources[0].kept == 1


def test_a_bad_row_is_named_with_the_file_of_the_repository(world: Any, model: Path, tmp_path: Path) -> None:
    world.add("datasets/acme/dialogues", {"train.jsonl": rows("one") + '{"instruction": 3, "output": "x"}\n'}, A)
    with pytest.raises(TunesmithError, match=rf"acme/dialogues@{A[:12]}/train.jsonl:2"):
        prepared(model, tmp_path)
