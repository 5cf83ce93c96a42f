"""One model shared out by two processes, with what tuners, quantizers and stages add to it: as good as one process."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM
from tunesmith.plan import ModelWish, Plan, Spread
from tunesmith.runtime.artefacts import finish
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

MODULES = {
    name: f"tunesmith_{name}.plugin" for name in ("fsdp", "deepspeed", "lora", "bitsandbytes", "preference", "reward", "full")
}
STEPS: dict[str, Any] = {"max_steps": 3, "save_strategy": "no", "max_grad_norm": 1.0}
ZERO = {"zero_optimization": {"stage": 3, "stage3_param_persistence_threshold": 0}, "zero_force_ds_cpu_optimizer": False}
WAYS = {"fsdp": {"fsdp": True}, "deepspeed": {"deepspeed": ZERO}}
PAIR = ("chosen", "rejected")
#: What is learned: stage, what each row holds, what is picked, the keys, and how near losses of two processes come.
RUNS: dict[str, tuple[str, tuple[str, ...], dict[str, str], dict[str, Any], float]] = {
    "lora": ("small", ("tokens",), {"tuners": "lora"}, {}, 2e-4),
    "four bits": ("small", ("tokens",), {"tuners": "lora", "quantizers": "bitsandbytes"}, {"quantization_bit": 4}, 1e-3),
    "reference": ("dpo", PAIR, {"tuners": "full"}, {"ref_model": "model", "pref_beta": 0.5}, 1e-3),
    "reference off": ("dpo", PAIR, {"tuners": "lora"}, {"pref_beta": 0.5}, 1e-3),
    "another adapter": ("dpo", PAIR, {"tuners": "lora"}, {"pref_beta": 0.5}, 1e-3),
    "rating": ("rm", PAIR, {"tuners": "full"}, {}, 1e-3),
}
#: DeepSpeed knows nothing of weights in four bits on a processor.
LEFT_OUT = {("deepspeed", "four bits")}
CASES = [(way, run) for way in WAYS for run in RUNS if (way, run) not in LEFT_OUT]


def plan_for(folder: Path, run: str, way: str | None, size: int) -> Plan:
    stage, _, picked, keys, _ = RUNS[run]
    keys = {**keys, **({"ref_model": str(folder / "model")} if "ref_model" in keys else {}), **WAYS.get(way or "", {})}
    shared = {"strategies": way} if way else {}
    out = str(folder / f"{run} {way}")
    plan = small_plan(
        folder,
        small_plugins(**MODULES),
        stage,
        picked={**picked, **shared},
        output_dir=out,
        **{**STEPS, "per_device_train_batch_size": size, **keys},
    )
    if "quantizers" in picked:
        wish = replace(plan.models["policy"], bits=4, quantizer="bitsandbytes@bitsandbytes", packed=True)
        plan = replace(plan, models={"policy": wish})
    if run == "another adapter":
        other = ModelWish("reference", None, adapters=(str(folder / "adapter"),), base_of="policy")
        plan = replace(plan, models={**plan.models, "reference": other})
    return replace(plan, spread=Spread(2, 1, "weights")) if way else plan


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shared")
    small_model(folder / "model", hidden_size=64, intermediate_size=128)
    base = AutoModelForCausalLM.from_pretrained(folder / "model")
    config = LoraConfig(task_type="CAUSAL_LM", target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    get_peft_model(base, config).save_pretrained(folder / "adapter")
    return folder


@pytest.fixture(scope="module")
def alone(folder: Path) -> dict[str, tuple[float, ...]]:
    found = {}
    for run in RUNS:
        session = small_session(
            plan_for(folder, run, None, 4), small_plugins(**MODULES), SmallStore(small_rows(12, names=RUNS[run][1]))
        )
        finish(session, session.trainer.run(session))
        found[run] = tuple(small_losses(session))
    return found


@pytest.fixture(scope="module")
def seen(folder: Path) -> dict[tuple[str, str], Seen]:
    trials = [Trial(plan_for(folder, run, way, 2), MODULES, 12, sequences=RUNS[run][1]) for way, run in CASES]
    return dict(zip(CASES, together(trials, folder / "t"), strict=True))


@pytest.mark.parametrize(("way", "run"), CASES)
def test_two_processes_learn_what_one_learns(alone: Any, seen: Any, way: str, run: str) -> None:
    found = seen[way, run]
    assert not found.error
    assert found.losses == pytest.approx(alone[run], abs=RUNS[run][4])


@pytest.mark.parametrize("way", WAYS)
def test_what_is_saved_is_the_adapter_alone_and_whole(folder: Path, alone: Any, seen: Any, way: str) -> None:
    one, other = (load_file(folder / f"lora {name}/adapter_model.safetensors") for name in (None, way))
    assert set(one) == set(other)
    for name, weight in one.items():
        torch.testing.assert_close(other[name], weight, atol=2e-3, rtol=1e-2)


@pytest.mark.parametrize("way", WAYS)
def test_the_head_that_rates_is_saved_whole(folder: Path, alone: Any, seen: Any, way: str) -> None:
    one, other = (load_file(folder / f"rating {name}/value_head.safetensors") for name in (None, way))
    torch.testing.assert_close(other["v_head.summary.weight"], one["v_head.summary.weight"], atol=2e-3, rtol=1e-2)
