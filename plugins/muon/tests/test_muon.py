"""Muon against its published rule, and against the conformance suite."""

from __future__ import annotations

import math
from pathlib import Path
from types import MappingProxyType, SimpleNamespace
from typing import Any

import pytest
import torch
from tunesmith.errors import TunesmithError
from tunesmith.testing import OptimizerSuite, PluginSuite
from tunesmith.testing.hand_plan import hand_plan
from tunesmith.testing.tiny_models import tiny_llama
from tunesmith_muon.counting import count_states
from tunesmith_muon.optimizer import MuonOptimizer, matrices
from tunesmith_muon.options import MuonOptions
from tunesmith_muon.plugin import MUON, tunesmith_check_plan

ARGUMENTS = SimpleNamespace(learning_rate=0.1, weight_decay=0.0, adam_beta1=0.9, adam_beta2=0.999, adam_epsilon=1e-8)


class TestPlugin(PluginSuite):
    plugin = "muon"
    folder = Path(__file__).parents[1]


class TestOptimizer(OptimizerSuite):
    spec = MUON
    plugin = "tunesmith_muon.plugin"
    keys = MappingProxyType({"use_muon": True})


class Pair(torch.nn.Module):
    """One matrix and one bias."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(2, 2)
        torch.nn.init.zeros_(self.layer.weight)
        torch.nn.init.zeros_(self.layer.bias)

    def get_output_embeddings(self) -> None:
        return None


def moved(adjust: str) -> Pair:
    model = Pair()
    plan = hand_plan(MuonOptions(use_muon=True, muon_adjust_lr=adjust))  # type: ignore[arg-type]
    groups = [{"params": list(model.parameters()), "weight_decay": 0.0}]
    optimizer = MuonOptimizer(plan).build(model, groups, ARGUMENTS)  # type: ignore[arg-type]
    model.layer.weight.grad, model.layer.bias.grad = torch.diag(torch.tensor([3.0, 4.0])), torch.tensor([5.0, -6.0])
    optimizer.step()
    return model


def orthogonal(value: float) -> float:
    """Five rounds of the quintic ``3.4445 x − 4.7750 x³ + 2.0315 x⁵`` on one singular value."""
    for _ in range(5):
        value = 3.4445 * value - 4.7750 * value**3 + 2.0315 * value**5
    return value


@pytest.mark.parametrize(("adjust", "factor"), [("original", 1.0), ("match_rms_adamw", 0.2 * math.sqrt(2))])
def test_a_step_computed_by_hand(adjust: str, factor: float) -> None:
    """The gradient diag(3, 4) has length 5, so the iteration starts from 0.6 and 0.8; it runs in bfloat16.

    The bias moves by the sign of its gradient times the rate, as Adam's first step does.
    """
    model = moved(adjust)
    expected = torch.diag(torch.tensor([orthogonal(0.6), orthogonal(0.8)])) * -0.1 * factor
    torch.testing.assert_close(model.layer.weight.data, expected, rtol=0.05, atol=1e-4)
    torch.testing.assert_close(model.layer.bias.data, torch.tensor([-0.1, 0.1]))


def test_tables_of_vectors_are_no_matrices() -> None:
    model = tiny_llama()
    names = {name for name, weight in model.named_parameters() if any(weight is one for one in matrices(model))}
    assert len(names) == 14
    assert not any("embed" in name or "lm_head" in name or "norm" in name for name in names)


def test_a_model_without_a_matrix_is_an_error() -> None:
    model: Any = tiny_llama().requires_grad_(False)
    model.model.norm.weight.requires_grad_(True)
    with pytest.raises(TunesmithError, match="no matrix of this model learns"):
        MuonOptimizer(hand_plan(MuonOptions())).build(model, [{"params": [model.model.norm.weight]}], ARGUMENTS)


def test_plan_errors() -> None:
    plan = hand_plan(MuonOptions(use_muon=True), picked={"optimizers": "muon"}, deepspeed="z3.json")
    assert ["deepspeed cuts them into pieces" in problem.what for problem in tunesmith_check_plan(plan)] == [True]


def test_what_is_kept() -> None:
    shapes = {"model.layers.0.mlp.up_proj.weight": (8, 4), "model.embed_tokens.weight": (8, 4)}
    assert count_states(shapes, {}.__getitem__) == 1.5
