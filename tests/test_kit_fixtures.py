"""The fixtures that the conformance kit lends to plugin packages make runs that work."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tunesmith import api
from tunesmith.plan import Plan
from tunesmith.plugins import Plugins

pytest_plugins = ["tunesmith.testing.fixtures"]


def test_a_plan_of_the_tiny_run_is_ready(make_plan: Callable[..., Plan], tiny_model: Path, tiny_dataset: Path) -> None:
    """Nothing is missing, and the keys that a test gives are in it."""
    plan = make_plan(lora_rank=4, dataset=("tiny",))
    plan.check_ready()
    assert plan["lora_rank"] == 4
    assert plan["model_name_or_path"] == str(tiny_model)
    assert [Path(name).parent for dataset in plan.datasets for name in dataset.files] == [tiny_dataset]


def test_the_tiny_run_trains(run_config: Callable[..., Path], plugins: Plugins, tmp_path: Path) -> None:
    outcome = api.train(run_config(), plugins=plugins)
    assert outcome.steps == 2
    assert (tmp_path / "out").is_dir()


def test_every_family_is_made_once(tiny_model_of: Callable[[str], Path]) -> None:
    assert tiny_model_of("llama") is tiny_model_of("llama")
    assert tiny_model_of("qwen2") != tiny_model_of("llama")
