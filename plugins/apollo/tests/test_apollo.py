"""APOLLO against its paper, and against the conformance suite."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
import torch
from tunesmith.plan import Spread
from tunesmith.runtime.low_rank import random
from tunesmith.testing import OptimizerSuite, PluginSuite
from tunesmith.testing.hand_plan import hand_plan
from tunesmith_apollo.counting import count_states
from tunesmith_apollo.optimizer import step
from tunesmith_apollo.options import ApolloOptions
from tunesmith_apollo.plugin import APOLLO, tunesmith_check_plan

GROUP: dict[str, Any] = {
    "lr": 0.1,
    "betas": (0.9, 0.999),
    "eps": 0.0,
    "weight_decay": 0.0,
    "rank": 1,
    "interval": 2,
    "factor": 2.0,
    "random": False,
    "kind": "left",
    "channels": True,
    "front": False,
}
GRADIENT = torch.tensor([[3.0, 0.0], [0.0, 1.0]])


class TestPlugin(PluginSuite):
    plugin = "apollo"
    folder = Path(__file__).parents[1]


class TestUsual(OptimizerSuite):
    spec = APOLLO
    plugin = "tunesmith_apollo.plugin"
    keys = MappingProxyType({"use_apollo": True, "apollo_rank": 8, "apollo_update_interval": 4})


class TestMiniLayerwise(OptimizerSuite):
    spec = APOLLO
    plugin = "tunesmith_apollo.plugin"
    keys = MappingProxyType(
        {
            "use_apollo": True,
            "apollo_rank": 1,
            "apollo_scale": 128.0,
            "apollo_scale_type": "tensor",
            "apollo_layerwise": True,
        }
    )
    moves_at_once = True


class TestSingularVectors(OptimizerSuite):
    spec = APOLLO
    plugin = "tunesmith_apollo.plugin"
    keys = MappingProxyType({"use_apollo": True, "apollo_rank": 8, "apollo_update_interval": 4, "apollo_proj": "svd"})


def moved(weight: torch.Tensor, gradient: torch.Tensor, state: dict[str, Any], **changes: Any) -> torch.Tensor:
    step({weight: 0}, weight, gradient, state, {**GROUP, **changes})
    return weight


def test_a_step_computed_by_hand() -> None:
    """Low rank: Pᵀ G = (3, 0), on which Adam's first step is (1, 0 / 0). With ε = 1 it is (3 / 4, 0).

    The scales are 3/4 : 3 = 1/4 for the first column and 0 for the second. So w₁₁ moves by −0.1 · 2 · 3 · 1/4.
    """
    assert torch.allclose(moved(torch.zeros(2, 2), GRADIENT, {}, eps=1.0), torch.tensor([[-0.15, 0.0], [0.0, 0.0]]))


def test_one_scale_for_the_whole_weight() -> None:
    """The same scale 1/4 for every number: w₂₂ moves too, by −0.1 · 2 · 1 · 1/4."""
    found = moved(torch.zeros(2, 2), GRADIENT, {}, eps=1.0, channels=False)
    assert torch.allclose(found, torch.tensor([[-0.15, 0.0], [0.0, -0.05]]))


@pytest.mark.parametrize(("front", "second"), [(False, -0.15 - 0.15 * 1.01), (True, -0.15 - 0.15 * 1.01)])
def test_a_step_grows_by_a_hundredth_at_most(front: bool, second: float) -> None:
    """A gradient ten times as long is shortened to 1.01 times the length of the last step."""
    weight, state = torch.zeros(2, 2), {}
    moved(weight, GRADIENT, state, eps=1.0, betas=(0.0, 0.0), front=front)
    moved(weight, GRADIENT * 10, state, eps=1.0, betas=(0.0, 0.0), front=front)
    assert weight[0, 0].item() == pytest.approx(second, rel=1e-4)


def test_random_subspaces_are_drawn_from_their_seed_and_change_when_it_is_time() -> None:
    """With rank 2 of 2 and Adam without memory, the step is that of the subspace drawn from seed 5, then 5, then 6."""
    weight, state = torch.zeros(2, 2), {}
    run = partial(step, {weight: 5}, weight)
    group = {**GROUP, "random": True, "rank": 2, "betas": (0.0, 0.0), "eps": 1.0}
    for seed in (5, 5, 6):
        before = weight.clone()
        state.pop("norm", None)
        run(GRADIENT, state, group)
        low = random(GRADIENT, 2, "left", seed).down(GRADIENT)
        scale = (low / (low.abs() + 1)).norm(dim=0) / low.norm(dim=0)
        torch.testing.assert_close(weight - before, -0.2 * GRADIENT * scale)


def test_plan_errors() -> None:
    options = ApolloOptions(use_apollo=True, apollo_layerwise=True)
    plan = hand_plan(options, picked={"optimizers": "apollo"}, gradient_accumulation_steps=2)
    plan = replace(plan, spread=Spread(processes=2, shards="weights"))
    found = [problem.instead for problem in tunesmith_check_plan(plan)]
    assert found == [
        "Write gradient_accumulation_steps: 1, or leave apollo_layerwise out.",
        "Train in one process, or leave apollo_layerwise out.",
    ]


def test_what_is_kept() -> None:
    """Two moments of 8 × 2, and for singular vectors a subspace of 4 × 2; random ones are not kept."""
    shapes = {"model.layers.0.mlp.up_proj.weight": (8, 4)}
    values = {"apollo_target": ("up_proj",), "apollo_rank": 2, "apollo_proj": "random"}
    assert count_states(shapes, values.__getitem__) == 1.0
    assert count_states(shapes, {**values, "apollo_proj": "svd"}.__getitem__) == 1.25
