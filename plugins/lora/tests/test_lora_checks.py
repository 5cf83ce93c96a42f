"""What is found wrong with a configuration before anything is loaded."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tunesmith.plan import DatasetPlan, ModelWish, Plan
from tunesmith.testing.hand_plan import hand_plan
from tunesmith_lora.options import LoraOptions
from tunesmith_lora.plugin import tunesmith_check_plan


def found(plan: Plan) -> list[str]:
    return [problem.what for problem in tunesmith_check_plan(plan)]


def plan(keys: dict[str, Any] | None = None, **options: Any) -> Plan:
    return hand_plan(LoraOptions(**options), picked={"tuners": "lora"}, **(keys or {}))


@pytest.mark.parametrize(
    ("keys", "options", "said"),
    [
        ({"quantization_bit": 4}, {"pissa_init": True}, "pissa_init (pissa) cannot move weights that are quantised"),
        ({"quantization_bit": 4}, {"lora_init": "corda"}, "lora_init (corda) cannot move weights that are quantised"),
        ({}, {"pissa_init": True, "lora_init": "eva"}, "pissa_init and lora_init: eva are two ways to start"),
        ({}, {"lora_init": "orthogonal", "lora_rank": 3}, "needs an even rank, and lora_rank is 3"),
        ({}, {"lora_init": "loftq"}, "makes up for quantising to 4 bits by bitsandbytes"),
        ({"quantization_bit": 8}, {"lora_init": "loftq"}, "makes up for quantising to 4 bits by bitsandbytes"),
        ({}, {"lora_layer_replication": ("0-x",)}, "lora_layer_replication: 0-x is no list of ranges"),
        ({}, {"pissa_init": True, "use_dora": True}, "pissa_init (pissa) and use_dora cannot go together"),
        ({}, {"lora_target_parameters": ("all",), "lora_dropout": 0.1}, "peft has no dropout for such weights"),
        ({}, {"lora_target_parameters": ("all",), "use_dora": True}, "peft has no DoRA for such weights"),
        ({}, {"lora_target_parameters": ("all",), "pissa_init": True}, "peft has no such start for them"),
        ({}, {"pissa_convert": True}, "pissa_convert has nothing to convert"),
        ({}, {"lora_target": ("re:(",)}, "lora_target holds no regular expression"),
    ],
)
def test_what_cannot_go_together(keys: dict[str, Any], options: dict[str, Any], said: str) -> None:
    (what,) = found(plan(keys, **options))
    assert said in what


@pytest.mark.parametrize(
    ("keys", "options"),
    [
        ({"quantization_bit": 4}, {}),
        ({"quantization_bit": 4}, {"lora_init": "eva"}),
        ({"quantization_bit": 4, "quantization_method": "bnb"}, {"lora_init": "loftq"}),
        ({}, {"lora_layer_replication": ("0-2", "1-3"), "lora_init": "lora_ga"}),
        ({"quantization_bit": None}, {"pissa_init": True, "pissa_convert": True}),
        ({}, {"use_dora": True}),
    ],
)
def test_what_can(keys: dict[str, Any], options: dict[str, Any]) -> None:
    assert found(plan(keys, **options)) == []


def test_other_tuners_are_none_of_its_business() -> None:
    assert found(hand_plan(LoraOptions(pissa_convert=True), picked={"tuners": "full"})) == []


def going_on(folder: Path, command: str = "train", **options: Any) -> Plan:
    (folder / "adapter_config.json").write_text(
        json.dumps({"peft_type": "LORA", "r": 8, "lora_alpha": 16, "init_lora_weights": True})
    )
    made = replace(plan(**options), command=command)
    return replace(made, models={"policy": ModelWish("policy", "base", adapters=(str(folder),))})


def test_a_rank_other_than_that_of_the_adapter_to_go_on_from(tmp_path: Path) -> None:
    (what,) = found(going_on(tmp_path, lora_rank=16))
    assert what == f"lora_rank is 16, and the adapter in {tmp_path} has 8"
    assert len(found(going_on(tmp_path, lora_rank=16, use_dora=True, pissa_init=False))) == 2


@pytest.mark.parametrize("options", [{}, {"lora_alpha": 16}, {"lora_rank": 16, "create_new_adapter": True}])
def test_going_on_without_contradiction(tmp_path: Path, options: dict[str, Any]) -> None:
    assert found(going_on(tmp_path, **options)) == []


def test_of_a_converted_adapter_the_one_below_it_counts(tmp_path: Path) -> None:
    made = going_on(tmp_path, lora_rank=4)
    assert len(found(made)) == 1
    (tmp_path / "unconverted").mkdir()
    config = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "init_lora_weights": "pissa_niter_16"}
    (tmp_path / "unconverted" / "adapter_config.json").write_text(json.dumps(config))
    assert found(made) == []


def test_a_contradiction_does_not_matter_when_nothing_learns(tmp_path: Path) -> None:
    assert found(going_on(tmp_path, command="chat", lora_rank=16)) == []


def test_starts_that_look_at_rows_need_rows_with_answers() -> None:
    prompts = DatasetPlan("p", "train", "file", "alpaca", "prompt", {}, ".")
    (what,) = found(replace(plan(lora_init="eva"), datasets=(prompts,)))
    assert "rows are prompts only" in what
