"""ZeRO over two real processes: the same losses as one process, resumable, with whole weights at the end."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM
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

MODULES = {"deepspeed": "tunesmith_deepspeed.plugin"}
#: torch's Adam, since DeepSpeed's own would be compiled first, which takes half a minute.
PLAIN_ADAM = {"zero_force_ds_cpu_optimizer": False}
STEPS: dict[str, Any] = {"max_steps": 4, "save_strategy": "steps", "save_steps": 2, "max_grad_norm": 1.0}


def zero(stage: int, **more: Any) -> dict[str, Any]:
    return {"zero_optimization": {"stage": stage, **more}, **PLAIN_ADAM}


CONFIGS: Mapping[str, dict[str, Any]] = {
    "two": zero(2, offload_optimizer={"device": "cpu"}),
    "three": zero(3, stage3_param_persistence_threshold=0),
}


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Seen]]:
    """One process for comparison; then both stages, each trained and resumed from its middle."""
    folder = tmp_path_factory.mktemp("zero")
    plugins = small_plugins(**MODULES)
    small_model(folder / "model", tie_word_embeddings=True)  # one weight in two places
    alone = small_plan(folder, plugins, "small", output_dir=str(folder / "alone"), **STEPS | {"per_device_train_batch_size": 4})
    session = small_session(alone, plugins, SmallStore(small_rows(16)))
    session.trainer.run(session)
    trials = {}
    for name, config in CONFIGS.items():
        keys = {"deepspeed": config, "output_dir": str(folder / name), **STEPS}
        picked = {"strategies": "deepspeed"}
        resumed = {"resume_from_checkpoint": str(folder / name / "checkpoint-2"), "trust_checkpoint": True}
        trials[name] = Trial(small_plan(folder, plugins, "small", picked=picked, **keys), MODULES)
        trials[f"{name} resumed"] = Trial(small_plan(folder, plugins, "small", picked=picked, **keys, **resumed), MODULES)
    found = dict(zip(trials, together(list(trials.values()), folder / "t"), strict=True))
    return folder, {"alone": Seen(tuple(small_losses(session))), **found}


@pytest.mark.parametrize("stage", CONFIGS)
def test_zero_learns_what_one_process_learns_and_is_deepspeeds(seen: tuple[Path, dict[str, Seen]], stage: str) -> None:
    found = seen[1][stage]
    assert found.wrapped[0] == "DeepSpeedEngine"
    assert found.losses == pytest.approx(seen[1]["alone"].losses, abs=2e-4)


@pytest.mark.parametrize("stage", CONFIGS)
def test_zero_goes_on_from_its_checkpoint(seen: tuple[Path, dict[str, Seen]], stage: str) -> None:
    assert seen[1][f"{stage} resumed"].losses == pytest.approx(seen[1][stage].losses, abs=1e-6)


@pytest.mark.parametrize("stage", CONFIGS)
def test_final_weights_are_whole_and_load_anywhere(seen: tuple[Path, dict[str, Seen]], stage: str) -> None:
    folder = seen[0]
    one, other = (load_file(folder / name / "checkpoint-4/model.safetensors") for name in ("alone", stage))
    assert set(one) == set(other)
    for name, weight in one.items():
        torch.testing.assert_close(other[name], weight, atol=5e-4, rtol=1e-3)
    assert AutoModelForCausalLM.from_pretrained(folder / stage).num_parameters() > 0
