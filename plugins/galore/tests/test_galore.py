"""GaLore against its paper, and against the conformance suite."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import pytest
import torch
from tunesmith.plan import ModelWish
from tunesmith.testing import OptimizerSuite, PluginSuite
from tunesmith.testing.hand_plan import hand_plan
from tunesmith_galore.counting import count_states
from tunesmith_galore.eight_bits import direction
from tunesmith_galore.eight_bits import grow as grow_moment
from tunesmith_galore.four_bits import grow, shrink
from tunesmith_galore.optimizer import step
from tunesmith_galore.options import GaloreOptions
from tunesmith_galore.plugin import GALORE, tunesmith_check_plan

GROUP = {
    "lr": 0.1,
    "betas": (0.9, 0.999),
    "eps": 1e-12,
    "weight_decay": 0.0,
    "rank": 1,
    "interval": 2,
    "scale": 0.5,
    "kind": "std",
    "quantize": False,
}


class TestPlugin(PluginSuite):
    plugin = "galore"
    folder = Path(__file__).parents[1]


class TestUsual(OptimizerSuite):
    spec = GALORE
    plugin = "tunesmith_galore.plugin"
    keys = MappingProxyType({"use_galore": True, "galore_rank": 8, "galore_update_interval": 4})


class TestLayerwise(OptimizerSuite):
    spec = GALORE
    plugin = "tunesmith_galore.plugin"
    keys = MappingProxyType({"use_galore": True, "galore_rank": 8, "galore_update_interval": 4, "galore_layerwise": True})
    moves_at_once = True


class TestQuantized(OptimizerSuite):
    spec = GALORE
    plugin = "tunesmith_galore.plugin"
    keys = MappingProxyType({"use_galore": True, "galore_rank": 8, "galore_update_interval": 1, "galore_quantize": True})


class TestEightBits(OptimizerSuite):
    spec = GALORE
    plugin = "tunesmith_galore.plugin"
    keys = MappingProxyType(
        {"use_galore": True, "galore_rank": 8, "galore_update_interval": 4, "galore_8bit": True, "galore_quantize": True}
    )


def test_moments_in_eight_bits_move_weights_nearly_as_moments_in_all() -> None:
    """Ten steps of a matrix large enough; each number of the map is within two hundredths of the greatest of its block."""
    generator = torch.Generator().manual_seed(0)
    gradients = [torch.randn(64, 128, generator=generator) + 0.5 for _ in range(10)]
    weights, states = (torch.zeros(64, 128), torch.zeros(64, 128)), ({}, {})
    group = {key: value for key, value in GROUP.items() if key != "rank"} | {"eps": 1e-8}
    for gradient in gradients:
        step(weights[0], gradient, states[0], group)
        step(weights[1], gradient, states[1], group, direction)
    assert {name: kept["codes"].dtype for name, kept in states[1].items() if isinstance(kept, dict)} == {
        "exp_avg": torch.uint8,
        "exp_avg_sq": torch.uint8,
    }
    assert (weights[0] - weights[1]).norm() < 0.03 * weights[0].norm()
    exact = states[0]["exp_avg"]
    assert (grow_moment(states[1]["exp_avg"], True) - exact).abs().max() < 0.1 * exact.abs().max()


def test_moments_of_small_weights_stay_whole() -> None:
    weight, state = torch.zeros(2, 2), {}
    step(weight, torch.tensor([[3.0, 0.0], [0.0, 1.0]]), state, GROUP, direction)
    assert torch.allclose(weight, torch.tensor([[-0.05, 0.0], [0.0, 0.0]]))
    assert isinstance(state["exp_avg"], torch.Tensor)


def test_a_step_computed_by_hand() -> None:
    """G = diag(3, 1): its leading direction is the first axis. Adam's first step there is ±1, so w₁₁ moves by −lr·α."""
    weight, state = torch.zeros(2, 2), {}
    step(weight, torch.tensor([[3.0, 0.0], [0.0, 1.0]]), state, GROUP)
    assert torch.allclose(weight, torch.tensor([[-0.05, 0.0], [0.0, 0.0]]))


def test_a_subspace_is_kept_until_it_is_time() -> None:
    """The second gradient lies outside the subspace of the first and moves nothing; the third is looked at anew."""
    weight, state = torch.zeros(2, 2), {}
    step(weight, torch.tensor([[3.0, 0.0], [0.0, 0.0]]), state, {**GROUP, "betas": (0.0, 0.0)})
    after = weight.clone()
    other = torch.tensor([[0.0, 0.0], [0.0, 5.0]])
    step(weight, other, state, {**GROUP, "betas": (0.0, 0.0)})
    assert torch.allclose(weight, after)
    step(weight, other, state, {**GROUP, "betas": (0.0, 0.0)})
    assert weight[1, 1].item() == pytest.approx(-0.05)


@pytest.mark.parametrize("kind", ["std", "reverse_std", "left", "right", "both"])
def test_with_full_rank_and_one_nonzero_number_every_side_gives_adams_step(kind: str) -> None:
    weight, state = torch.zeros(2, 2), {}
    group = {**GROUP, "kind": kind, "rank": 2, "scale": 1.0, "eps": 1e-12}
    step(weight, torch.tensor([[0.0, 0.0], [7.0, 0.0]]), state, group)
    assert torch.allclose(weight, torch.tensor([[0.0, 0.0], [-0.1, 0.0]]), atol=1e-5)


def test_four_bits_are_within_a_thirtieth_of_the_span() -> None:
    tensor = torch.randn(70, 9, generator=torch.Generator().manual_seed(0))
    small = shrink(tensor)
    assert small["bytes"].numel() == (630 + 138) // 2
    assert (grow(small) - tensor).abs().max() <= (tensor.max() - tensor.min()) / 30 + 1e-6


def test_subspaces_that_stay_alike_are_looked_for_half_as_often() -> None:
    """The same gradient each time: after six subspaces the last five pairs are alike."""
    weight, state = torch.zeros(4, 4), {}
    gradient = torch.diag(torch.tensor([4.0, 3.0, 2.0, 1.0]))
    for _ in range(6):
        step(weight, gradient, state, {**GROUP, "interval": 1, "quantize": True})
    assert state["interval"] == 2


def test_plan_errors() -> None:
    keys = {"gradient_accumulation_steps": 4, "max_grad_norm": 1.0, "fp16": True}
    plan = hand_plan(GaloreOptions(use_galore=True, galore_layerwise=True), picked={"optimizers": "galore"}, **keys)
    found = [problem.what for problem in tunesmith_check_plan(plan)]
    assert len(found) == 3
    assert all("galore_layerwise moves weights within the backward pass" in what for what in found)
    plan = hand_plan(GaloreOptions(galore_quantize=True, galore_proj_type="full"), picked={"optimizers": "galore"})
    assert [problem.instead for problem in tunesmith_check_plan(plan)] == ["Write galore_proj_type: std"]
    assert not list(tunesmith_check_plan(hand_plan(GaloreOptions(galore_layerwise=True), fp16=True)))


def test_weights_of_eight_bits_are_told_to_be_no_part_of_it() -> None:
    plan = hand_plan(GaloreOptions(use_galore=True), picked={"optimizers": "galore"})
    assert not list(tunesmith_check_plan(plan))
    packed = replace(plan, models={"policy": ModelWish("policy", "model", bits=8, quantizer="torchao@torchao", packed=True)})
    (problem,) = tunesmith_check_plan(packed)
    assert "Q-GaLore's weights of 8 bits" in problem.what
    assert problem.where == "by hand"


def test_what_is_kept() -> None:
    """A matrix of 8 × 4 with rank 2: two moments of 8 × 2 and a subspace of 4 × 2; the embedding has Adam's two."""
    values = {"galore_target": ("all",), "galore_rank": 2, "galore_quantize": False, "galore_8bit": False}
    shapes = {"model.layers.0.mlp.up_proj.weight": (8, 4), "model.embed_tokens.weight": (16, 4)}
    assert count_states(shapes, values.__getitem__) == pytest.approx((2 * 16 + 8 + 2 * 64) / (32 + 64))
    eight = count_states(shapes, {**values, "galore_8bit": True}.__getitem__)
    assert eight == pytest.approx(((2 * 16 + 2 * 64) * 8.125 / 32 + 8) / (32 + 64))
