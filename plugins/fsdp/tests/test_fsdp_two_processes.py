"""FSDP2 over two real processes: the losses of one process, resumable, with whole weights at the end."""

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

MODULES = {"fsdp": "tunesmith_fsdp.plugin"}
STEPS: dict[str, Any] = {"max_steps": 4, "save_strategy": "steps", "save_steps": 2, "max_grad_norm": 1.0}
EVALUATED = {"metric_for_best_model": "loss", "eval_strategy": "steps", "eval_steps": 2}
RUNS: Mapping[str, dict[str, Any]] = {
    "plain": {"fsdp": True},
    "accumulated": {"fsdp": True, "per_device_train_batch_size": 1, "gradient_accumulation_steps": 2},
    "whole": {"fsdp": "shard_grad_op offload", "fsdp_config": {"auto_wrap_policy": "NO_WRAP"}},
    "copies": {"fsdp": True, "parallelism_config": {"dp_replicate_size": 2, "dp_shard_size": 1}},
    "best": {"fsdp": True, "load_best_model_at_end": True, **EVALUATED},
}


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Seen]]:
    """One process for comparison; then each run, and the first one resumed from its middle."""
    folder = tmp_path_factory.mktemp("fsdp")
    plugins = small_plugins(**MODULES)
    small_model(folder / "model", tie_word_embeddings=True)  # one weight in two places
    alone = small_plan(folder, plugins, "small", output_dir=str(folder / "alone"), **STEPS | {"per_device_train_batch_size": 4})
    session = small_session(alone, plugins, SmallStore(small_rows(16)))
    session.trainer.run(session)
    trials = {}
    for name, keys in RUNS.items():
        trials[name] = Trial(_plan(folder, name, keys), MODULES, evals=4 if "eval_strategy" in keys else 0)
    resumed = {"resume_from_checkpoint": str(folder / "plain/checkpoint-2")}
    trials["resumed"] = Trial(_plan(folder, "plain", {"fsdp": True, **resumed}), MODULES)
    trials["half"] = Trial(_plan(folder, "half", {"fsdp": True, "bf16": True, "save_strategy": "no"}), MODULES)
    found = dict(zip(trials, together(list(trials.values()), folder / "t"), strict=True))
    return folder, {"alone": Seen(tuple(small_losses(session))), **found}


def _plan(folder: Path, name: str, keys: Mapping[str, Any]) -> Any:
    plugins = small_plugins(**MODULES)
    return small_plan(
        folder, plugins, "small", picked={"strategies": "fsdp"}, output_dir=str(folder / name), **{**STEPS, **keys}
    )


@pytest.mark.parametrize("run", RUNS)
def test_it_learns_what_one_process_learns_and_is_fsdp(seen: tuple[Path, dict[str, Seen]], run: str) -> None:
    found = seen[1][run]
    assert not found.error
    assert found.wrapped[:2] == ("FSDPLlamaForCausalLM", "FSDPModule")
    assert "DistributedDataParallel" not in found.wrapped
    assert found.losses == pytest.approx(seen[1]["alone"].losses, abs=2e-4)


def test_it_goes_on_from_its_checkpoint(seen: tuple[Path, dict[str, Seen]]) -> None:
    assert seen[1]["resumed"].losses == pytest.approx(seen[1]["plain"].losses, abs=1e-6)


def test_half_precision_is_close(seen: tuple[Path, dict[str, Seen]]) -> None:
    assert not seen[1]["half"].error
    assert seen[1]["half"].losses == pytest.approx(seen[1]["alone"].losses, rel=0.02)
    assert seen[1]["half"].losses != seen[1]["alone"].losses


@pytest.mark.parametrize("run", RUNS)
def test_final_weights_are_whole_and_load_anywhere(seen: tuple[Path, dict[str, Seen]], run: str) -> None:
    folder = seen[0]
    one, other = (load_file(folder / name / "checkpoint-4/model.safetensors") for name in ("alone", run))
    assert set(one) == set(other)
    for name, weight in one.items():
        torch.testing.assert_close(other[name], weight, atol=5e-4, rtol=1e-3)
    model = AutoModelForCausalLM.from_pretrained(folder / run)
    assert type(model).__name__ == model.config.architectures[0] == "LlamaForCausalLM"


def test_checkpoints_hold_no_pickle(seen: tuple[Path, dict[str, Seen]]) -> None:
    kinds = {path.suffix for path in (seen[0] / "plain").rglob("*") if path.is_file()}
    assert kinds <= {".safetensors", ".json", ".jsonl", ".jinja", ".md", ".png", ".svg", ".yaml", ".txt"}
