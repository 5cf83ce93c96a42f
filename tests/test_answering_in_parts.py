"""Two processes that share a model out let it answer as two that each hold it whole: predictions, and answers to learn from."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tunesmith.plan import Plan, Spread
from tunesmith.testing.small_run import small_model, small_plan, small_plugins
from tunesmith.testing.together import Seen, Trial, together

pytestmark = pytest.mark.long

MODULES = {name: f"tunesmith_{name}.plugin" for name in ("fsdp", "deepspeed", "sft", "grpo", "full")}
ZERO = {"zero_optimization": {"stage": 3, "stage3_param_persistence_threshold": 0}, "zero_force_ds_cpu_optimizer": False}
WAYS: dict[str, dict[str, Any]] = {"ddp": {}, "fsdp": {"fsdp": True}, "deepspeed": {"deepspeed": ZERO}}
PREDICTED = {"do_predict": True, "predict_with_generate": True, "do_eval": True, "eval_strategy": "steps", "eval_steps": 2}
DRAWN = {"reward_funcs": ("variety",), "num_generations": 4, "per_device_train_batch_size": 4, "do_sample": True, "beta": 0.1}
#: Stage, what a row holds, keys, and rows to evaluate on.
RUNS: dict[str, tuple[str, str, dict[str, Any], int]] = {
    "predicted": ("sft", "tokens", PREDICTED, 6),
    "drawn": ("grpo", "prompt", DRAWN, 0),
}
CASES = [(way, run) for way in WAYS for run in RUNS]  # DeepSpeed last: what it leaves in a process disturbs others


def plan_for(folder: Path, way: str, run: str) -> Plan:
    stage, _, keys, _ = RUNS[run]
    given = {"output_dir": str(folder / f"{run}-{way}"), "max_steps": 3, **keys, **WAYS[way]}
    plan = small_plan(folder, small_plugins(**MODULES), stage, picked={"tuners": "full", "strategies": way}, **given)
    return replace(plan, spread=Spread(2, 1, "nothing" if way == "ddp" else "weights"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("answers")
    small_model(folder / "model")
    return folder


@pytest.fixture(scope="module")
def seen(folder: Path) -> dict[tuple[str, str], Seen]:
    trials = [Trial(plan_for(folder, way, run), MODULES, 12, RUNS[run][3], (RUNS[run][1],)) for way, run in CASES]
    return dict(zip(CASES, together(trials, folder / "t"), strict=True))


def history(folder: Path, way: str) -> list[list[float]]:
    lines = json.loads((folder / f"drawn-{way}" / "trainer_state.json").read_text())["log_history"]
    return [[line["reward"], line["kl"], line["grad_norm"]] for line in lines if "reward" in line]


@pytest.mark.parametrize("way", [way for way in WAYS if way != "ddp"])
def test_predictions_are_those_of_whole_models(folder: Path, seen: Any, way: str) -> None:
    assert not seen[way, "predicted"].error
    one, other = ((folder / f"predicted-{name}" / "generated_predictions.jsonl").read_text() for name in ("ddp", way))
    assert len(one.splitlines()) == 6
    assert other == one


@pytest.mark.parametrize("way", [way for way in WAYS if way != "ddp"])
def test_answers_to_learn_from_are_those_of_whole_models(folder: Path, seen: Any, way: str) -> None:
    assert not seen[way, "drawn"].error
    one, other = history(folder, "ddp"), history(folder, way)
    assert len(one) == 3
    for whole, parts in zip(one, other, strict=True):
        assert parts == pytest.approx(whole, rel=1e-2, abs=1e-4)
