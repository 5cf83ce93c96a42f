"""Two processes with half the answers each take the steps of one with all of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tunesmith.testing.small_run import SmallStore, small_model, small_plan, small_plugins, small_rows, small_session
from tunesmith.testing.two_processes import Job, run_in_two

PLUGIN = "fixed_rollouts"
KEYS: dict[str, Any] = {
    "reward_funcs": ("variety",),
    "num_generations": 4,
    "beta": 0.1,
    "disable_shuffling": True,
    "do_sample": True,
    "learning_rate": 1e-2,
    "max_steps": 3,
}
#: The loss itself is about zero, since advantages cancel out; what moves and where it has come to are not.
MEASURES = ("grad_norm", "reward", "entropy", "kl")


def history(folder: Path) -> list[dict[str, float]]:
    lines = json.loads((folder / "out" / "trainer_state.json").read_text())["log_history"]
    return [line for line in lines if "loss" in line]


@pytest.mark.parametrize("tools", [(), ("calculator",)], ids=["plain", "tools"])
def test_two_processes_take_the_steps_of_one(tools: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With tools, also where a process has no call to answer and the other one has."""
    monkeypatch.syspath_prepend(Path(__file__).parent)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    rows = small_rows(6, names=("prompt",))
    plugins = small_plugins(tested=PLUGIN)
    (tmp_path / "one").mkdir()
    keys = {**KEYS, "tools": tools, "max_new_tokens": 32}
    plan = small_plan(tmp_path / "one", plugins, "grpo", per_device_train_batch_size=8, **keys)
    session = small_session(plan, plugins, SmallStore(rows))
    session.trainer.run(session)
    session.close()
    (tmp_path / "two").mkdir()
    small_model(tmp_path / "two" / "model")
    run_in_two(tmp_path, [Job(PLUGIN, "grpo", str(tmp_path / "two"), rows, {**keys, "per_device_train_batch_size": 4})])
    one, two = history(tmp_path / "one"), history(tmp_path / "two")
    assert len(one) == 3
    assert one[2]["kl"] > 1e-6
    measures = (*MEASURES, *(("tools/call_frequency", "completions/mean_length") if tools else ()))
    for alone, together in zip(one, two, strict=True):
        assert {name: together[name] for name in measures} == pytest.approx(
            {name: alone[name] for name in measures}, rel=1e-3, abs=1e-6
        )
    if tools:
        assert 0 < one[0]["tools/call_frequency"] < 1
