"""The JSON Schema: valid by its own meta-schema, and true of what the reader takes and refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from tunesmith import settings
from tunesmith.cli.schema import schema
from tunesmith.errors import ConfigError
from tunesmith.plugins import Plugins
from tunesmith.values import untyped
from tunesmith.yaml_lines import read_file

jsonschema = pytest.importorskip("jsonschema")
COMPAT = Path(__file__).parent / "compat" / "configs"


def printed(plugins: Plugins) -> dict[str, Any]:
    result = CliRunner().invoke(schema, [], obj=plugins, catch_exceptions=False)
    found: dict[str, Any] = json.loads(result.output)
    return found


@pytest.fixture(scope="module")
def plugins() -> Plugins:
    return Plugins()


@pytest.fixture(scope="module")
def check(plugins: Plugins) -> Any:
    return jsonschema.Draft202012Validator(printed(plugins))


def test_it_is_a_schema_of_its_draft(plugins: Plugins) -> None:
    found = printed(plugins)
    assert found["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    jsonschema.Draft202012Validator.check_schema(found)
    assert found["additionalProperties"] is False


@pytest.mark.parametrize("file", sorted(COMPAT.rglob("*.yaml")), ids=lambda path: path.stem)
def test_the_configurations_that_users_have_are_valid(check: Any, file: Path) -> None:
    if "lora_rank" not in check.schema["properties"]:
        pytest.skip("the default packages are not installed")
    entries, _ = read_file(file)
    errors = [error.message for error in check.iter_errors({entry.key: untyped(entry.value) for entry in entries})]
    assert errors == []


@pytest.mark.parametrize(
    "given",
    [
        {"cutoff_len": 2048, "packing": None, "dataset": "a,b", "eval_dataset": ["c"], "mix_strategy": "concat"},
        {"accelerator_config.min_num_params": 3, "accelerator_config": {"a": {"b": [1]}}},
        {"use_mca": False, "val_size": 0.1, "resume_from_checkpoint": True, "interleave_probs": [0.5, 0.5]},
        {"cutoff_len": 0},
        {"cutoff_len": "many"},
        {"top_p": 1.5},
        {"mix_strategy": "mix"},
        {"use_mca": True},
        {"lerning_rate": 1},
        {"packing": "perhaps"},
        {"interleave_probs": [-1]},
        {"cutoff_len.x": 1},
    ],
    ids=str,
)
def test_schema_and_reader_agree(plugins: Plugins, check: Any, given: dict[str, Any]) -> None:
    try:
        settings.read(plugins, given, environ={})
        readable = True
    except ConfigError:
        readable = False
    assert check.is_valid(given) is readable


def test_editors_are_told_meaning_default_and_secrets(plugins: Plugins) -> None:
    properties = printed(plugins)["properties"]
    assert properties["cutoff_len"] == {
        "type": "integer",
        "minimum": 1,
        "description": "Tokens that one example may have. Owner: host.",
        "default": 2048,
    }
    assert properties["stage"].get("examples", []) == list(plugins.trainers.names)
    assert properties["hf_hub_token"]["writeOnly"] is True
    assert properties["evaluation_strategy"]["deprecated"] is True
    assert "tunesmith-multimodal" in properties["downsample_mode"]["description"]
