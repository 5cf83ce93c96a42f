"""AdaLoRA in a run: ranks are given to where they matter, the term that keeps it orthogonal, exact resume."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tunesmith.errors import TunesmithError
from tunesmith.testing.small_run import SmallStore, small_losses, small_plan, small_plugins, small_rows, small_session
from tunesmith_lora.adalora import UNKNOWN, add_orthogonality

KEYS: dict[str, Any] = {
    "finetuning_type": "adalora",
    "lora_target": ("q_proj", "v_proj"),
    "adalora_init_r": 6,
    "adalora_target_r": 2,
    "adalora_tinit": 1,
    "adalora_tfinal": 1,
    "learning_rate": 1e-1,
    "max_steps": 8,
}


def session(folder: Path, **keys: Any) -> Any:
    plugins = small_plugins(lora="tunesmith_lora.plugin")
    plan = small_plan(folder, plugins, "small", picked={"tuners": "adalora"}, **{**KEYS, **keys})
    return small_session(plan, plugins, SmallStore(small_rows(16)))


def run(opened: Any) -> list[float]:
    opened.trainer.run(opened)
    return small_losses(opened)


def ranks(model: Any) -> list[int]:
    """Ranks that are not zero, of each layer."""
    return [int((weight != 0).sum()) for name, weight in model.named_parameters() if "lora_E" in name]


def test_ranks_move_and_end_at_the_budget_and_a_resumed_run_ends_the_same(tmp_path: Path) -> None:
    opened = session(tmp_path, save_strategy="steps", save_steps=3)
    whole, model = run(opened), opened.models["policy"]
    assert sum(ranks(model)) == 2 * 4
    assert set(ranks(model)) != {2}
    assert model.peft_config["default"].total_step == 8
    for step in (3, 6):
        again = session(tmp_path, resume_from_checkpoint=str(tmp_path / "out" / f"checkpoint-{step}"))
        assert run(again) == whole
        assert ranks(again.models["policy"]) == ranks(model)


def test_its_settings_are_saved_without_the_run(tmp_path: Path) -> None:
    opened = session(tmp_path)
    opened.save_model(tmp_path / "saved")
    text = (tmp_path / "saved" / "adapter_config.json").read_text()
    assert str(UNKNOWN) in text
    assert '"rank_pattern": null' in text


def test_phases_longer_than_the_run_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TunesmithError, match="leave none of 8 steps"):
        run(session(tmp_path, adalora_tinit=5, adalora_tfinal=3))


def test_the_term_has_the_gradient_of_the_mean_distance_from_orthogonal() -> None:
    """Against peft's own term, worked out by autograd from its definition."""
    torch.manual_seed(0)
    model = torch.nn.ModuleDict({"lora_A": torch.nn.ParameterDict(), "lora_B": torch.nn.ParameterDict()})
    model["lora_A"]["default"], model["lora_B"]["default"] = (torch.nn.Parameter(torch.randn(s)) for s in ((2, 5), (4, 2)))
    layer = torch.nn.ModuleDict({"layer": model})
    first, second = model["lora_A"]["default"], model["lora_B"]["default"]
    eye = torch.eye(2)
    ((first @ first.T - eye).norm() + (second.T @ second - eye).norm()).mul(0.5 / 2).backward()
    expected = [parameter.grad.clone() for parameter in (first, second)]
    for parameter in (first, second):
        parameter.grad = torch.ones_like(parameter)
    add_orthogonality(layer, 0.5)
    for parameter, gradient in zip((first, second), expected, strict=True):
        assert torch.allclose(parameter.grad, gradient + 1, atol=1e-6)
