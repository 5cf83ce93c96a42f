"""``tunesmith explain``: what a user is told about a key."""

from __future__ import annotations

import json
from typing import Any

import pytest
from click.testing import CliRunner
from tunesmith.cli.explain import explain
from tunesmith.errors import TunesmithError
from tunesmith.plugins import Plugins

HOST_ONLY = Plugins(found=[])


def run(*words: str, plugins: Plugins = HOST_ONLY) -> str:
    result = CliRunner().invoke(explain, words, obj=plugins, catch_exceptions=False)
    assert result.exit_code == 0
    return result.output


def facts(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run(name, "--json"))
    return found


def test_a_page_says_meaning_type_default_owner_and_ways_to_set() -> None:
    assert run("cutoff_len").splitlines() == [
        "cutoff_len: Tokens that one example may have.",
        "  type     a whole number, at least 1",
        "  default  2048",
        "  owner    host, data (tunesmith-core)",
        "  set by   cutoff_len: …  cutoff_len=…  --cutoff_len …  TUNESMITH_CUTOFF_LEN",
    ]


def test_choices_are_listed() -> None:
    assert "  choices  concat, interleave_under, interleave_over, interleave_once" in run("mix_strategy")
    assert facts("eval_strategy")["choices"] == ["no", "steps", "epoch"]


def test_a_key_that_picks_a_plugins_thing_lists_what_is_installed() -> None:
    plugins = Plugins()
    names = list(plugins.trainers.names)
    assert json.loads(run("stage", "--json", plugins=plugins))["choices"] == names


def test_a_key_still_to_come_says_so_and_what_it_belongs_to() -> None:
    text = run("downsample_mode")
    assert "  status   known, but not built yet" in text
    assert "  acts     only with media" in text
    assert "  owner    tunesmith-multimodal, multimodal" in text


def test_a_refused_key_says_why() -> None:
    assert "  status   not supported: There is no Megatron backend" in run("use_mca")


def test_an_old_name_says_what_it_became() -> None:
    assert "  note     evaluation_strategy is read as eval_strategy" in run("evaluation_strategy")
    assert "save_safetensors: false is refused: Weights are written as safetensors only" in run("save_safetensors")


@pytest.mark.parametrize("name", ["MASTER_PORT", "TUNESMITH_MASTER_PORT", "master-port", "master_port"])
def test_a_key_is_found_by_any_of_its_names(name: str) -> None:
    assert facts(name)["name"] == "master_port"
    assert facts(name)["variables"] == ["MASTER_PORT", "TUNESMITH_MASTER_PORT"]


def test_everything_is_there_for_machines() -> None:
    found = facts("val_size")
    assert (found["default"], found["type"], found["range"], found["owner"]) == (0.0, "float", "at least 0", "host")


def test_an_unknown_key_names_the_nearest_or_the_package() -> None:
    with pytest.raises(TunesmithError, match="There is no key cutof_len") as caught:
        run("cutof_len")
    assert caught.value.hint == "Did you mean 'cutoff_len'?"
    with pytest.raises(TunesmithError) as caught:
        run("lora_rank")
    assert caught.value.hint == "It comes with tunesmith-lora: pip install tunesmith-lora"
    with pytest.raises(TunesmithError, match="sets no key: read by wandb"):
        run("WANDB_PROJECT")


def test_without_a_name_every_key_is_listed_under_its_owner() -> None:
    lines = run().splitlines()
    section = lines[lines.index("host: data") + 1 : lines.index("host: generation") - 1]
    names = [line.split()[0] for line in section]
    assert {"cutoff_len", "dataset", "template"} < set(names)
    assert names == sorted(names)
    assert lines.index("transformers: training arguments") < lines.index("known, but not built yet") < lines.index("old names")
    assert len(json.loads(run("--json"))) > 350
