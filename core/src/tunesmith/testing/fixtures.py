"""pytest fixtures for plugin packages: a tiny model, a tiny dataset, configurations and plans made of them.

A test module asks for them with ``pytest_plugins = ["tunesmith.testing.fixtures"]``, a package with
``addopts = "-p tunesmith.testing.fixtures"`` in the pytest table of its ``pyproject.toml``::

    def test_my_keys_reach_the_plan(make_plan):
        assert make_plan(finetuning_type="acme", acme_size=4)["acme_size"] == 4
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from tunesmith.plan import Plan
from tunesmith.plugins import Plugins

#: Rows in the default format of ``dataset_info.json``: enough to train for a few steps on.
ROWS = tuple(
    {"instruction": f"What is {left} plus {right}?", "input": "", "output": f"It is {left + right}."}
    for left in range(8)
    for right in range(8)
)

#: A run that takes a second on a processor.
QUICK = {
    "dataset": "tiny",
    "cutoff_len": 128,
    "max_steps": 2,
    "per_device_train_batch_size": 2,
    "learning_rate": 1e-3,
    "logging_steps": 1,
    "save_strategy": "no",
    "report_to": "none",
    "seed": 7,
}


@pytest.fixture(scope="session")
def tiny_model_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of a tiny random model of a family (``tunesmith tiny`` lists them), made once."""
    from tunesmith.runtime.tiny import make_tiny

    @cache
    def make(family: str) -> Path:
        return make_tiny(family, tmp_path_factory.mktemp("tiny") / family)

    return make


@pytest.fixture(scope="session")
def tiny_model(tiny_model_of: Callable[[str], Path]) -> Path:
    """The folder of a tiny random Llama with tokenizer and chat template. Leave it as it is."""
    return tiny_model_of("llama")


@pytest.fixture(scope="session")
def tiny_dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ``dataset_dir`` with the dataset ``tiny``: small additions. Leave it as it is."""
    folder = tmp_path_factory.mktemp("data")
    return write_dataset(folder, "tiny", ROWS)


def write_dataset(folder: Path, name: str, rows: Any, **entry: Any) -> Path:
    """Add the dataset ``name`` to a ``dataset_dir``; ``entry`` holds further keys of ``dataset_info.json``."""
    (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    file = folder / "dataset_info.json"
    listed = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    file.write_text(json.dumps({**listed, name: {"file_name": f"{name}.jsonl", **entry}}), encoding="utf-8")
    return folder


@pytest.fixture
def run_config(tiny_model: Path, tiny_dataset: Path, tmp_path: Path) -> Callable[..., Path]:
    """Writes the configuration of a quick run on the tiny model; flat keys given to it are added or replace others."""

    def write(**keys: Any) -> Path:
        places = {"model_name_or_path": str(tiny_model), "dataset_dir": str(tiny_dataset), "output_dir": str(tmp_path / "out")}
        file = tmp_path / "run.yaml"
        plain = {
            name: list(value) if isinstance(value, tuple) else value for name, value in {**QUICK, **places, **keys}.items()
        }
        file.write_text(yaml.safe_dump(plain, sort_keys=False), encoding="utf-8")
        return file

    return write


@pytest.fixture(scope="session")
def plugins() -> Plugins:
    """Everything that is installed."""
    return Plugins()


@pytest.fixture
def make_plan(run_config: Callable[..., Path], plugins: Plugins) -> Callable[..., Plan]:
    """Plans a quick run on the tiny model with the given flat keys."""
    from tunesmith import planning, settings

    def make(command: str = "train", **keys: Any) -> Plan:
        return planning.make(settings.read(plugins, run_config(**keys)), plugins, command)

    return make
