"""The form over a configuration: what its fields offer, what they say, and what they write."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from gradio_client import Client
from tunesmith import TunesmithError
from tunesmith.plugins import Plugins
from tunesmith.runtime.tiny import make_tiny
from tunesmith_webui.desk import Desk
from tunesmith_webui.folder import Folder
from tunesmith_webui.form import FIELDS, datasets, fields_of, values
from tunesmith_webui.jobs import Jobs

from .serving import shown

ROWS = [{"instruction": "Say <b>hi</b>", "input": "", "output": "hi"}, {"instruction": "Say no", "input": "", "output": ""}]
TEXT = """\
# my run
model_name_or_path: model
dataset: [few]
dataset_dir: data
template: chatml  # as it was made
learning_rate: 1.0e-4
packing: false
output_dir: saves/one
"""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("form")
    make_tiny("qwen3", root / "model")
    (root / "data").mkdir()
    (root / "data/few.json").write_text(json.dumps(ROWS))
    (root / "data/dataset_info.json").write_text(json.dumps({"few": {"file_name": "few.json"}, "many": {}}))
    return root


@pytest.fixture
def desk(root: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    monkeypatch.chdir(root)
    return Desk(Plugins(), Folder(root), Jobs(root / "logs"))


def test_fields_offer_what_is_installed(desk: Desk) -> None:
    made = {field.key.name: field for some in fields_of(desk.plugins, desk.keys()).values() for field in some}
    assert list(made) == [name for names in FIELDS.values() for name in names]
    assert {"sft", "dpo"} <= set(made["stage"].options)
    assert {"lora", "full"} <= set(made["finetuning_type"].options)
    assert "qwen3" in made["template"].options
    assert made["bf16"].options == ("true", "false")
    assert made["learning_rate"].options == ()
    assert made["cutoff_len"].key.help


def test_what_is_not_installed_has_no_field(desk: Desk) -> None:
    keys = {name: key for name, key in desk.keys().items() if name != "packing"}
    made = fields_of(desk.plugins, keys)  # type: ignore[arg-type]
    assert "packing" not in {field.key.name for field in made["data"]}


def test_fields_say_what_the_text_says() -> None:
    names = ("model_name_or_path", "dataset", "learning_rate", "packing", "max_steps")
    assert values(TEXT, names) == ["model", "[few]", "0.0001", "false", ""]
    assert values("stage: [", names) is None
    assert values("- a", names) is None
    assert values("", names) == [""] * 5


def test_datasets_are_those_of_the_folder_that_is_named(root: Path) -> None:
    assert datasets(TEXT, root) == ("few", "many")
    assert datasets("dataset_dir: nowhere", root) == ()


def test_a_key_goes_when_its_field_is_emptied(desk: Desk) -> None:
    assert desk.put(TEXT, "packing", "") == TEXT.replace("packing: false\n", "")
    assert desk.put("stage: sft\n", "packing", "") == "stage: sft\n"
    assert desk.put("stage: sft\n", "stage", "") == ""
    with pytest.raises(TunesmithError, match="cannot be put there"):
        desk.put("dataset:\n  - few\n", "dataset", "")


def test_rows_are_shown_as_the_model_reads_them(desk: Desk) -> None:
    found = desk.rows("run.yaml", TEXT + "max_bad_rows: 1\n", 2)
    assert "".join(words for words, what in found if what == "learned") == "hi<|im_end|>"
    assert "Say <b>hi</b>" in "".join(words for words, what in found if what is None)
    assert [what for _, what in found].count("row") == 2
    assert [words for words, what in found if what == "bad"] == ["output: this column is empty\n"]


def test_rows_of_a_configuration_that_is_wrong_are_not(desk: Desk) -> None:
    with pytest.raises(TunesmithError, match="fev"):
        desk.rows("run.yaml", TEXT.replace("few", "fev"), 2)


def test_the_page_fills_its_fields_and_shows_rows(root: Path) -> None:
    with shown(["webui"], root) as address:
        client = Client(address, verbose=False)
        fields = client.predict(TEXT, api_name="/form")
        names = [name for some in FIELDS.values() for name in some]
        dataset = fields[names.index("dataset")]
        assert dataset["value"] == "[few]"
        assert [choice[0] for choice in dataset["choices"]] == ["", "few", "many"]
        marked = client.predict("run.yaml", TEXT, 1, api_name="/rows")
        assert any(part["class_or_confidence"] == "learned" and part["token"].startswith("hi") for part in marked)
