"""Layers split over two real processes: the losses of one process, resumable, with whole weights at the end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from accelerate import Accelerator, DistributedType, ParallelismConfig
from safetensors.torch import load_file
from tunesmith.plan import Plan, Spread
from tunesmith.runtime.artefacts import finish
from tunesmith.testing import StrategySuite
from tunesmith.testing.backend_suite import forgotten_device
from tunesmith.testing.small_run import SmallStore, small_losses, small_plan, small_plugins, small_rows, small_session
from tunesmith.testing.together import Seen, Trial, together
from tunesmith_tensor_parallel.plugin import NAME, tunesmith_strategies
from tunesmith_tensor_parallel.strategy import OnAnyDevice

(SPEC,) = tunesmith_strategies()
SPLIT = {"tp_size": 2}
EVALUATED = {"metric_for_best_model": "loss", "eval_strategy": "steps", "eval_steps": 2}


class TestTensorParallel(StrategySuite):
    spec = SPEC
    plugin = "tunesmith_tensor_parallel.plugin"
    wraps = ("LlamaForCausalLM",)
    apart = False
    runs: Mapping[str, Mapping[str, Any]] = {
        "plain": SPLIT,
        "accumulated": {**SPLIT, "per_device_train_batch_size": 2, "gradient_accumulation_steps": 2},
        "recomputed": {**SPLIT, "disable_gradient_checkpointing": False},
        "best": {**SPLIT, "load_best_model_at_end": True, **EVALUATED},
    }


# ---- accelerate --------------------------------------------------------------------------------------------------------


def test_accelerate_still_refuses_processors_where_this_package_lets_them_pass() -> None:
    """The check that ``OnAnyDevice`` overrides is accelerate's own affair: this says when it has changed."""
    seen = SimpleNamespace(
        distributed_type=DistributedType.MULTI_CPU, num_processes=2, multi_device=False, is_fsdp2=False, is_main_process=True
    )
    with pytest.raises(ValueError, match="only compatible"):
        ParallelismConfig(tp_size=2)._validate_accelerator(seen)
    OnAnyDevice(tp_size=2)._validate_accelerator(seen)
    with pytest.raises(ValueError, match="3 processes are to share the layers, and there are 2"):
        OnAnyDevice(tp_size=3)._validate_accelerator(seen)
    on_devices = SimpleNamespace(**{**vars(seen), "distributed_type": DistributedType.MULTI_GPU, "multi_device": True})
    with pytest.raises(ValueError, match="total_size"):
        OnAnyDevice(tp_size=3)._validate_accelerator(on_devices)


def test_accelerate_still_asks_that_check(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Accelerator] = []
    monkeypatch.setattr(OnAnyDevice, "_validate_accelerator", lambda sizes, accelerator: asked.append(accelerator))
    monkeypatch.setattr(OnAnyDevice, "get_device_mesh", lambda sizes, device: None)  # it would want two processes
    with forgotten_device():
        accelerator = Accelerator(cpu=True, parallelism_config=OnAnyDevice(tp_size=2))
    assert asked == [accelerator]


# ---- what is learned -------------------------------------------------------------------------------------------------

MODULES = {name: f"tunesmith_{name}.plugin" for name in ("sft", "preference", "reward", "full", "tensor_parallel")}
PAIR = ("chosen", "rejected")
#: Stage, what each row holds, the tuner, and keys.
STAGES: Mapping[str, tuple[str, tuple[str, ...], str, Mapping[str, Any]]] = {
    "sft": ("sft", ("tokens",), "full", {}),
    "freeze": ("sft", ("tokens",), "freeze", {"freeze_trainable_layers": 1}),
    "half": ("sft", ("tokens",), "full", {"bf16": True}),
    "dpo": ("dpo", PAIR, "full", {"ref_model": "model"}),
    "rm": ("rm", PAIR, "full", {}),
}


def plan_for(folder: Path, name: str, *, split: bool) -> Plan:
    stage, _, tuner, keys = STAGES[name]
    keys = {**keys, **({"ref_model": str(folder / "model")} if "ref_model" in keys else {}), **(SPLIT if split else {})}
    keys |= {"output_dir": str(folder / f"{name}-{split}"), "max_steps": 3, "per_device_train_batch_size": 4}
    picked = {"tuners": tuner, **({"strategies": NAME} if split else {})}
    plan = small_plan(folder, small_plugins(**MODULES), stage, picked=picked, **keys)
    return replace(plan, spread=Spread(2, 1, "weights")) if split else plan


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("stages")


@pytest.fixture(scope="module")
def stages(place: Path) -> dict[str, tuple[tuple[float, ...], Seen]]:
    folder, alone = place, {}
    for name, (_, names, _, _) in STAGES.items():
        session = small_session(
            plan_for(folder, name, split=False), small_plugins(**MODULES), SmallStore(small_rows(12, names=names))
        )
        finish(session, session.trainer.run(session))
        alone[name] = tuple(small_losses(session))
    trials = [Trial(plan_for(folder, name, split=True), MODULES, 12, sequences=STAGES[name][1]) for name in STAGES]
    seen = together(trials, folder / "t")
    return {name: (alone[name], one) for name, one in zip(STAGES, seen, strict=True)}


@pytest.mark.parametrize("name", STAGES)
def test_every_stage_learns_what_it_learns_in_one(stages: dict[str, tuple[tuple[float, ...], Seen]], name: str) -> None:
    alone, seen = stages[name]
    assert not seen.error
    assert seen.losses == pytest.approx(alone, abs=0.05 if name == "half" else 1e-4)


def test_weights_that_are_not_tied_are_whole_too(stages: dict[str, tuple[tuple[float, ...], Seen]], place: Path) -> None:
    one, other = (load_file(place / f"sft-{split}" / "model.safetensors") for split in (False, True))
    assert set(one) == set(other)
    for name, weight in one.items():
        torch.testing.assert_close(other[name], weight, atol=2e-3, rtol=1e-2)
