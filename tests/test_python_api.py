"""Plan, train and chat from Python, with a mapping where a YAML file would stand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tunesmith import api
from tunesmith.errors import ConfigError


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    from tunesmith.runtime.tiny import make_tiny

    folder = tmp_path_factory.mktemp("api")
    rows = [{"instruction": "Say yes.", "output": "yes"}] * 8
    (folder / "a.json").write_text(json.dumps(rows))
    (folder / "dataset_info.json").write_text(json.dumps({"a": {"file_name": "a.json"}}))
    return {
        "model_name_or_path": str(make_tiny("qwen3", folder / "model")),
        "template": "chatml",
        "dataset": "a",
        "dataset_dir": str(folder),
        "data_cache_dir": str(folder / "cache"),
        "output_dir": str(folder / "out"),
        "backend": "cpu",
        "finetuning_type": "lora",
        "learning_rate": 0.02,
        "max_steps": 12,
        "save_strategy": "no",
        "max_new_tokens": 8,
        "do_sample": False,
    }


def test_a_plan_is_data(keys: dict[str, Any]) -> None:
    plan = api.plan(keys)
    assert plan["learning_rate"] == 0.02
    assert plan.settings["learning_rate"].origin == "Python"


def test_what_is_wrong_is_raised_and_nothing_starts(keys: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no key learning_rat"):
        api.train({**keys, "learning_rat": 1, "output_dir": str(tmp_path / "never")})
    assert not (tmp_path / "never").exists()


def test_train_and_then_talk(keys: dict[str, Any]) -> None:
    outcome = api.train(keys)
    assert outcome.steps == 12
    assert outcome.metrics["train_loss"] > 0
    talk = {key: keys[key] for key in ("template", "backend", "max_new_tokens", "do_sample")}
    with api.Chat({"model_name_or_path": keys["output_dir"], **talk}) as chat:
        first = chat.ask("Say yes.")
        assert first == "yes"
        chat.clear()
        assert "".join(chat.stream("Say yes.")) == first
