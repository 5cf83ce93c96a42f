"""Optimizers of plugins where a strategy shares weights out: by what their specs say, before anything is loaded."""

from __future__ import annotations

from pathlib import Path

import pytest
from tunesmith import api
from tunesmith.errors import ConfigError
from tunesmith.testing.small_run import small_model


@pytest.mark.parametrize(
    ("optimizer", "stage", "said"),
    [("use_badam", 3, ""), ("use_badam", 2, "ZeRO at stage 3"), ("use_galore", 3, "parts of them")],
)
def test_the_plan_knows_whose_parts_an_optimizer_can_work_on(tmp_path: Path, optimizer: str, stage: int, said: str) -> None:
    keys = {
        "model_name_or_path": str(small_model(tmp_path / "model")),
        "template": "llama3",
        "output_dir": str(tmp_path / "out"),
    }
    keys |= {"stage": "sft", "finetuning_type": "full", optimizer: True, "nproc_per_node": 2, "backend": "cpu"}
    keys |= {"dataset_dir": str(tmp_path), "dataset": "rows"}
    (tmp_path / "dataset_info.json").write_text('{"rows": {"file_name": "rows.jsonl"}}')
    keys["deepspeed"] = {"zero_optimization": {"stage": stage}}
    try:
        found = ""
        api.plan(keys)
    except ConfigError as error:
        found = error.message
    assert said in found
    assert bool(said) == bool(found), found
