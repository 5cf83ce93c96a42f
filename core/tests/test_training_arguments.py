"""training_arguments.json against the transformers that is installed."""

from __future__ import annotations

import dataclasses
import enum
import json
from importlib import resources
from typing import Any

import pytest
from tunesmith.known_keys import training_arguments

transformers = pytest.importorskip("transformers")
generator = pytest.importorskip("generate_training_arguments")

FIELDS = {
    item.name: item
    for item in dataclasses.fields(transformers.Seq2SeqTrainingArguments)
    if item.init and item.name not in generator.ELSEWHERE
}


def default_of(item: dataclasses.Field[Any]) -> Any:
    value = item.default_factory() if item.default_factory is not dataclasses.MISSING else item.default
    return value.value if isinstance(value, enum.Enum) else value


def test_the_file_is_what_the_generator_makes_of_the_installed_library() -> None:
    shipped = resources.files("tunesmith").joinpath("training_arguments.json").read_text(encoding="utf-8")
    assert json.loads(shipped)["transformers"] == transformers.__version__, "run tools/generate_training_arguments.py"
    assert shipped == generator.text()


def test_names_are_those_of_the_library() -> None:
    assert list(training_arguments()) == list(FIELDS)


@pytest.mark.parametrize("name", FIELDS)
def test_a_default_is_the_librarys(name: str) -> None:
    ours, theirs = training_arguments()[name].default, default_of(FIELDS[name])
    if isinstance(ours, tuple):
        theirs = () if theirs in ("", None) else (theirs,) if isinstance(theirs, str) else tuple(theirs)
    assert ours == theirs


def test_the_library_takes_every_value_that_differs_from_its_default() -> None:
    given = {
        "output_dir": "out",
        "eval_strategy": "no",
        "lr_scheduler_type": "cosine",
        "optim": "adafactor",
        "warmup_steps": 0.1,
        "save_steps": 0.5,
        "report_to": ["none"],
        "debug": [],
        "include_num_input_tokens_seen": "all",
        "train_sampling_strategy": "group_by_length",
        "log_level": "info",
        "use_cpu": True,
    }
    assert transformers.TrainingArguments(**given).warmup_steps == 0.1
