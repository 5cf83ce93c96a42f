"""BAdam by layers where two real processes share the weights out by ZeRO at stage 3."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tunesmith.testing.small_run import (
    SmallStore,
    small_losses,
    small_model,
    small_plan,
    small_plugins,
    small_rows,
    small_session,
)
from tunesmith.testing.together import Seen, Trial, together
from tunesmith_badam.blocks import block_of

pytest.importorskip("tunesmith_deepspeed.strategy", reason="the strategy deepspeed is not installed", exc_type=ImportError)

MODULES = {"badam": "tunesmith_badam.plugin", "deepspeed": "tunesmith_deepspeed.plugin"}
ZERO: dict[str, Any] = {
    "zero_optimization": {"stage": 3, "stage3_param_persistence_threshold": 0},
    "zero_force_ds_cpu_optimizer": False,
}
STEPS: dict[str, Any] = {
    "max_steps": 6,
    "save_strategy": "steps",
    "save_steps": 3,
    "max_grad_norm": 0.5,
    "learning_rate": 1e-2,
    "weight_decay": 0.1,
    "disable_gradient_checkpointing": False,
    "use_badam": True,
    "badam_switch_interval": 2,
}


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Seen]]:
    """One process for comparison; two that share weights, and again from the middle of the second layer's turn."""
    folder = tmp_path_factory.mktemp("badam")
    plugins = small_plugins(**MODULES)
    small_model(folder / "model")
    keys = {**STEPS, "output_dir": str(folder / "alone"), "per_device_train_batch_size": 4}
    session = small_session(
        small_plan(folder, plugins, "small", picked={"optimizers": "badam"}, **keys), plugins, SmallStore(small_rows(24))
    )
    session.trainer.run(session)
    picked = {"optimizers": "badam", "strategies": "deepspeed"}
    keys = {**STEPS, "deepspeed": ZERO, "output_dir": str(folder / "z")}
    resumed = {"resume_from_checkpoint": str(folder / "z" / "checkpoint-3"), "trust_checkpoint": True}
    trials = {
        "parts": Trial(small_plan(folder, plugins, "small", picked=picked, **keys), MODULES, rows=24),
        "resumed": Trial(small_plan(folder, plugins, "small", picked=picked, **keys, **resumed), MODULES, rows=24),
    }
    found = dict(zip(trials, together(list(trials.values()), folder / "t"), strict=True))
    return folder, {"alone": Seen(tuple(small_losses(session))), **found}


def test_parts_learn_what_one_process_learns(seen: tuple[Path, dict[str, Seen]]) -> None:
    """Also with clipped gradients: what a layer that rests had as gradient does not count in their norm."""
    assert seen[1]["parts"].wrapped[0] == "DeepSpeedEngine"
    assert len(seen[1]["alone"].losses) == 6
    assert seen[1]["parts"].losses == pytest.approx(seen[1]["alone"].losses, abs=2e-4)


def test_a_run_goes_on_in_the_middle_of_a_turn(seen: tuple[Path, dict[str, Seen]]) -> None:
    assert seen[1]["resumed"].losses == pytest.approx(seen[1]["parts"].losses, abs=1e-6)


def test_layers_have_learned_in_turn_and_nothing_else(seen: tuple[Path, dict[str, Seen]]) -> None:
    folder = seen[0]
    before = load_file(folder / "model" / "model.safetensors")
    half, end = (load_file(folder / "z" / f"checkpoint-{step}" / "model.safetensors") for step in (3, 6))
    alone = load_file(folder / "alone" / "checkpoint-6" / "model.safetensors")
    for name, weight in end.items():
        # Adam blows rounding up where a gradient is nearly nothing; a weight moves by some 0.02 in its turn.
        assert (weight - alone[name]).abs().mean() < 1e-5, name
        assert torch.equal(weight, before[name]) == (block_of(name) == ""), name
    assert not torch.equal(half["model.layers.1.mlp.up_proj.weight"], before["model.layers.1.mlp.up_proj.weight"])
