"""From a configuration to scores: what training writes is read back by the command, by going on, and by an export."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file, save_file
from tunesmith import TunesmithError, launch, planning, settings
from tunesmith.cli.main import cli
from tunesmith.errors import ConfigError
from tunesmith.plan import Plan
from tunesmith.plugins import Plugins
from tunesmith.runtime.tiny import make_tiny

NAME = "pairs"


@pytest.fixture(scope="module")
def plugins() -> Plugins:
    return Plugins()


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, and pairs in which the polite answer is the better one."""
    folder = tmp_path_factory.mktemp("home")
    make_tiny("qwen3", folder / "model")
    pairs = [
        {"instruction": f"Give me {n}.", "chosen": f"Gladly: {n}, thank you.", "rejected": f"Never {n}, go away."}
        for n in range(8)
    ]
    talks = [{"instruction": "Give me 9.", "output": words} for words in ("Gladly: 9, thank you.", "Never 9, go away.")]
    (folder / "pairs.json").write_text(json.dumps(pairs))
    (folder / "talks.json").write_text(json.dumps(talks))
    info = {
        NAME: {
            "file_name": "pairs.json",
            "ranking": True,
            "columns": {"prompt": "instruction", "chosen": "chosen", "rejected": "rejected"},
        },
        "talks": {"file_name": "talks.json"},
    }
    (folder / "dataset_info.json").write_text(json.dumps(info))
    return folder


Make = Callable[..., Plan]


@pytest.fixture(scope="module")
def make(plugins: Plugins, home: Path) -> Make:
    def make_plan(command: str = "train", **keys: Any) -> Plan:
        given = {"model_name_or_path": str(home / "model"), "dataset_dir": str(home), "dataset": NAME, "template": "qwen3"}
        given |= {"backend": "cpu", "data_cache_dir": str(home / "cache"), "verbosity": "error"}
        if command == "train":
            given |= {"stage": "rm", "disable_gradient_checkpointing": True, "save_strategy": "no", "disable_tqdm": True}
            given |= {
                "logging_steps": 1,
                "per_device_train_batch_size": 4,
                "learning_rate": 5e-3,
                "lr_scheduler_type": "constant",
            }
        config = settings.read(plugins, {**given, **keys}, environ={})
        return planning.make(config, plugins, command)

    return make_plan


@pytest.fixture(scope="module", params=["full", "lora"])
def trained(request: pytest.FixtureRequest, make: Make, plugins: Plugins, home: Path) -> tuple[str, Path, Any]:
    """A reward model that has learned the pairs, by either kind of tuner."""
    folder = home / request.param
    keys = {"learning_rate": 1e-3} if request.param == "full" else {}
    plan = make(
        finetuning_type=request.param,
        output_dir=str(folder),
        max_steps=16,
        eval_dataset=NAME,
        do_train=True,
        do_eval=True,
        **keys,
    )
    return request.param, folder, launch.train(plan, plugins)


def beside(kind: str, folder: Path, home: Path) -> dict[str, str]:
    model = {"model_name_or_path": str(folder)} if kind == "full" else {"adapter_name_or_path": str(folder)}
    return {"model_name_or_path": str(home / "model"), **model}


def score(make: Make, plugins: Plugins, into: Path, **keys: Any) -> list[dict[str, Any]]:
    from tunesmith_reward.command import rate_all

    rate_all(make("score", score_file=str(into), **keys), plugins)
    return [json.loads(line) for line in into.read_text().splitlines()]


def test_it_separates_the_pairs(trained: tuple[str, Path, Any]) -> None:
    metrics = trained[2].metrics
    assert metrics["eval_accuracy"] == 1.0
    assert metrics["eval_margin"] > 1.0
    assert metrics["eval_loss"] < 0.3


def test_the_head_is_written_beside_and_not_into_the_weights(trained: tuple[str, Path, Any]) -> None:
    kind, folder, _ = trained
    head = load_file(folder / "value_head.safetensors")
    assert {name: tuple(tensor.shape) for name, tensor in head.items()} == {
        "v_head.summary.weight": (1, head["v_head.summary.weight"].shape[1]),
        "v_head.summary.bias": (1,),
    }
    assert all(tensor.dtype is torch.float32 for tensor in head.values())
    weights = folder / ("model.safetensors" if kind == "full" else "adapter_model.safetensors")
    assert not [name for name in load_file(weights) if "v_head" in name]
    log = [json.loads(line) for line in (folder / "trainer_log.jsonl").read_text().splitlines()]
    assert any("accuracy" in line for line in log)


def test_scores_are_those_of_the_trained_model(
    trained: tuple[str, Path, Any], make: Make, plugins: Plugins, home: Path
) -> None:
    kind, folder, outcome = trained
    lines = score(make, plugins, home / f"{kind}.jsonl", **beside(kind, folder, home))
    assert len(lines) == 8
    assert lines[0]["place"].endswith("pairs.json: row 1")
    margins = [line["margin"] for line in lines]
    assert min(margins) > 0
    assert sum(margins) / 8 == pytest.approx(outcome.metrics["eval_margin"], rel=1e-3)
    talks = score(make, plugins, home / "talks.jsonl", dataset="talks", **beside(kind, folder, home))
    assert talks[0]["score"] > talks[1]["score"]


def test_batches_change_no_score(trained: tuple[str, Path, Any], make: Make, plugins: Plugins, home: Path) -> None:
    kind, folder, _ = trained
    keys = beside(kind, folder, home)
    one, many = (score(make, plugins, home / "s.jsonl", score_batch_size=size, **keys) for size in (1, 5))
    for a, b in zip(one, many, strict=True):
        assert a["chosen"] == pytest.approx(b["chosen"], abs=1e-4)


def test_it_goes_on_from_where_it_was(trained: tuple[str, Path, Any], make: Make, plugins: Plugins, home: Path) -> None:
    kind, folder, outcome = trained
    keys = {**beside(kind, folder, home), "finetuning_type": kind, "output_dir": str(home / f"{kind}-on")}
    plan = make(**keys, eval_dataset=NAME, do_eval=True)
    assert plan.models["policy"].head == "value"
    assert launch.train(plan, plugins).metrics["eval_loss"] == pytest.approx(outcome.metrics["eval_loss"], rel=1e-3)


def test_an_export_carries_the_head(
    trained: tuple[str, Path, Any], make: Make, plugins: Plugins, home: Path, tmp_path: Path
) -> None:
    from tunesmith_export.command import carry_out

    kind, folder, _ = trained
    keys = beside(kind, folder, home)
    report = carry_out(make("export", stage="rm", export_dir=str(tmp_path / "whole"), export_device="cpu", **keys), plugins)
    assert "value_head.safetensors" in report["files"]
    lines, again = (
        score(make, plugins, tmp_path / "s.jsonl", **where) for where in (keys, {"model_name_or_path": str(tmp_path / "whole")})
    )
    for one, other in zip(lines, again, strict=True):
        assert one["chosen"] == pytest.approx(other["chosen"], abs=1e-4)


def test_a_model_without_a_head_rates_nothing(make: Make) -> None:
    with pytest.raises(ConfigError, match="holds no value head"):
        make("score")


def test_a_pickled_head_is_refused(make: Make, home: Path, tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.mkdir()
    for file in (home / "model").iterdir():
        (model / file.name).symlink_to(file)
    (model / "value_head.bin").write_bytes(b"pickle")
    with pytest.raises(ConfigError, match="is a pickle"):
        make("score", model_name_or_path=str(model))


def test_a_head_of_another_size_is_refused(
    trained: tuple[str, Path, Any], make: Make, plugins: Plugins, home: Path, tmp_path: Path
) -> None:
    kind, folder, _ = trained
    if kind == "full":
        pytest.skip("one kind is enough")
    copy = tmp_path / "adapter"
    copy.mkdir()
    for file in folder.iterdir():
        if file.is_file() and file.name != "value_head.safetensors":
            (copy / file.name).write_bytes(file.read_bytes())
    save_file(
        {"v_head.summary.weight": torch.ones(1, 3), "v_head.summary.bias": torch.ones(1)}, copy / "value_head.safetensors"
    )
    with pytest.raises(TunesmithError, match="does not fit the model"):
        score(make, plugins, tmp_path / "s.jsonl", **beside(kind, copy, home))


def test_a_classifier_rates_too_and_learns_on(make: Make, plugins: Plugins, home: Path, tmp_path: Path) -> None:
    from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

    torch.manual_seed(0)
    config = AutoConfig.from_pretrained(home / "model", num_labels=1)
    AutoModelForSequenceClassification.from_config(config).save_pretrained(tmp_path / "rater")
    tokenizer = AutoTokenizer.from_pretrained(home / "model")
    tokenizer.save_pretrained(tmp_path / "rater")
    lines = score(make, plugins, tmp_path / "s.jsonl", model_name_or_path=str(tmp_path / "rater"))
    assert len({line["margin"] for line in lines}) == 8
    keys = {"output_dir": str(tmp_path / "out"), "finetuning_type": "full", "learning_rate": 1e-3, "max_steps": 16}
    plan = make(model_name_or_path=str(tmp_path / "rater"), eval_dataset=NAME, do_eval=True, do_train=True, **keys)
    assert plan.models["policy"].head == "score"
    outcome = launch.train(plan, plugins)
    assert outcome.metrics["eval_accuracy"] == 1.0
    again = score(make, plugins, tmp_path / "again.jsonl", model_name_or_path=str(tmp_path / "out"))
    margin = sum(line["margin"] for line in again) / 8
    assert margin == pytest.approx(outcome.metrics["eval_margin"], rel=1e-3)


def test_the_command_tells_what_it_found(trained: tuple[str, Path, Any], home: Path, tmp_path: Path) -> None:
    kind, folder, _ = trained
    keys = {**beside(kind, folder, home), "dataset_dir": str(home), "dataset": NAME, "template": "qwen3", "backend": "cpu"}
    words = [f"{key}={value}" for key, value in keys.items()]
    result = CliRunner().invoke(cli, ["score", *words, f"score_file={tmp_path / 's.jsonl'}"])
    assert result.exit_code == 0, result.output
    assert "the better answer wins in 8 of 8 pairs (100.0%)" in result.output
