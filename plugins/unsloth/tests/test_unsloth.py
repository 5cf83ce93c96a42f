"""The accelerator ``unsloth``: what a plan says here, and a run in its stack."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from tunesmith import planning, settings
from tunesmith.errors import ConfigError
from tunesmith.plan import Plan
from tunesmith.plugins import Plugins
from tunesmith.testing import PluginSuite
from tunesmith_unsloth.plugin import STACK

ONLY = ("unsloth", "sft", "lora", "full", "alpaca", "chat-templates", "cpu")


class TestPlugin(PluginSuite):
    plugin = "unsloth"
    folder = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tunesmith.runtime.tiny import make_tiny

    folder = tmp_path_factory.mktemp("run")
    make_tiny("llama", folder / "model")
    rows = [
        {"instruction": f"Say {word}.", "output": word}
        for word in ["one", "two", "three", "four", "five", "six", "seven", "eight"]
    ]
    (folder / "rows.json").write_text(json.dumps(rows))
    (folder / "dataset_info.json").write_text(json.dumps({"rows": {"file_name": "rows.json"}}))
    return folder


def keys(folder: Path, **more: Any) -> dict[str, Any]:
    given = {"model_name_or_path": str(folder / "model"), "dataset": "rows", "dataset_dir": str(folder), "template": "auto"}
    given |= {"output_dir": str(folder / "out"), "use_unsloth": True, "finetuning_type": "lora", "stage": "sft", "max_steps": 4}
    given |= {"backend": "cpu", "logging_steps": 1, "learning_rate": 1e-2, "per_device_train_batch_size": 4, "seed": 1}
    return {**given, "save_strategy": "no", "lr_scheduler_type": "constant", **more}


def plan(folder: Path, plugins: Plugins | None = None, **more: Any) -> Plan:
    plugins = plugins or Plugins()
    return planning.make(settings.read(plugins, keys(folder, **more), environ={}), plugins, "train")


def test_a_run_belongs_into_the_stack_and_the_plan_says_how_to_make_it(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TUNESMITH_STACKS", str(tmp_path))
    made = plan(folder)
    assert made.stack == "unsloth"
    assert [(one.what, one.instead) for one in made.missing] == [
        ("the stack unsloth has not been made", "tunesmith stack create unsloth")
    ]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"finetuning_type": "freeze"}, "use_unsloth does not work with finetuning_type: freeze"),
        ({"train_from_scratch": True, "finetuning_type": "full"}, "train_from_scratch has none"),
        ({"quantization_bit": 8}, "use_unsloth knows no bnb with 8 bits"),
    ],
)
def test_what_it_was_not_made_for_is_refused(folder: Path, more: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        plan(folder, **more)
    assert said in caught.value.message


def test_the_stack_meets_what_unsloth_asks_of_those_that_clash() -> None:
    wanted = {Requirement(one).name: Requirement(one).specifier for one in STACK.requirements}
    for pin in map(Requirement, STACK.pins):
        (upper,) = (one for one in pin.specifier)
        assert any(one.version == upper.version or upper.version.startswith(one.version) for one in wanted[pin.name])


# ---- in the stack ----------------------------------------------------------------------------------------------------


def run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tunesmith.cli.main", "--only", ",".join(ONLY), *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "HF_HUB_OFFLINE": "1"})


def losses(output: Path) -> list[float]:
    history = json.loads((output / "trainer_state.json").read_text())["log_history"]
    return [entry["loss"] for entry in history if "loss" in entry]


@pytest.mark.long
@pytest.mark.parametrize("tuner", ["lora", "full"])
def test_a_run_in_the_stack_learns_what_it_learns_outside(folder: Path, tmp_path: Path, tuner: str) -> None:
    """Needs a package index, or a stack that was made before; 4 GB of disk."""
    made = run(folder, "stack", "create", "unsloth")
    assert made.returncode == 0, made.stderr
    found = []
    for name, on in (("with", True), ("without", False)):
        file = tmp_path / f"{name}.yaml"
        file.write_text(json.dumps(keys(folder, output_dir=str(tmp_path / name), use_unsloth=on, finetuning_type=tuner)))
        done = run(folder, "train", str(file))
        assert done.returncode == 0, done.stderr
        found.append(losses(tmp_path / name))
        assert ("running in the stack unsloth" in done.stderr) is on
    assert find_spec("unsloth") is None, "it must not be here, or the stack proves nothing"
    assert len(found[0]) == 4
    assert found[0][-1] < found[0][0]
    assert found[0] == pytest.approx(found[1], abs=2e-3)
