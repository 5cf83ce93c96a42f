"""Two real processes, one of which holds text only while the other looks at pictures."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tunesmith.testing.small_pictures import ASKED, row, write_rows

Config = Callable[..., dict[str, Any]]
ZERO = {"zero_optimization": {"stage": 3, "stage3_param_persistence_threshold": 0}, "zero_force_ds_cpu_optimizer": False}
STRATEGIES: dict[str, dict[str, Any]] = {
    "ddp": {"disable_gradient_checkpointing": False},  # with it transformers tells DDP that every weight is used
    "fsdp": {"fsdp": True},
    "zero": {"deepspeed": ZERO},
}


@pytest.fixture(scope="module")
def mixed(place: Path) -> str:
    """Every other row has a picture: with one row to a batch and no shuffling, one process never sees any."""
    rows = [row(ASKED, "red", f"train{number}.png") if number % 2 else row("Name one.", "blue") for number in range(8)]
    write_rows(place, "every_other", rows)
    return "every_other"


def losses(config: Config, out: Path, **keys: Any) -> list[float]:
    seeing = {"freeze_vision_tower": False, "freeze_multi_modal_projector": False}
    how = {"disable_shuffling": True, "max_steps": 4, "learning_rate": 1e-3, "save_strategy": "no", "finetuning_type": "full"}
    out.mkdir()
    (out / "run.yaml").write_text(
        json.dumps(config(dataset="every_other", output_dir=str(out / "run"), **seeing, **how, **keys))
    )
    line = [sys.executable, "-m", "tunesmith.cli.main", "train", str(out / "run.yaml"), "--quiet"]
    done = subprocess.run(line, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    history = json.loads((out / "run" / "trainer_state.json").read_text())["log_history"]
    return [entry["loss"] for entry in history if "loss" in entry]


@pytest.fixture(scope="module")
def alone() -> dict[str, list[float]]:
    """The losses of one process, once they are known."""
    return {}


@pytest.mark.parametrize("strategy", ["ddp", *(pytest.param(name, marks=pytest.mark.long) for name in ("fsdp", "zero"))])
def test_who_has_no_picture_takes_part(
    strategy: str, mixed: str, config: Config, tmp_path: Path, alone: dict[str, list[float]]
) -> None:
    if not alone:
        alone["losses"] = losses(config, tmp_path / "alone", per_device_train_batch_size=2)
    found = losses(config, tmp_path / "two", per_device_train_batch_size=1, nproc_per_node=2, **STRATEGIES[strategy])
    assert found == pytest.approx(alone["losses"], rel=1e-3)
