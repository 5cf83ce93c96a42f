"""LOMO and AdaLomo against their papers, and against the conformance suite."""

from __future__ import annotations

from pathlib import Path
from types import MappingProxyType

import pytest
import torch
from transformers import TrainingArguments
from tunesmith.testing import OptimizerSuite, PluginSuite
from tunesmith.testing.hand_plan import hand_plan
from tunesmith_lomo.counting import factored_states, no_states
from tunesmith_lomo.optimizer import LomoOptimizer, adapt, descend
from tunesmith_lomo.options import LomoOptions
from tunesmith_lomo.plugin import ADALOMO, LOMO, tunesmith_check_plan

GROUP = {"lr": 0.1, "weight_decay": 0.0}


class TestPlugin(PluginSuite):
    plugin = "lomo"
    folder = Path(__file__).parents[1]


class TestLomo(OptimizerSuite):
    spec = LOMO
    plugin = "tunesmith_lomo.plugin"
    keys = MappingProxyType({"optim": "lomo", "learning_rate": 0.05})
    moves_at_once = True


class TestAdaLomo(OptimizerSuite):
    spec = ADALOMO
    plugin = "tunesmith_lomo.plugin"
    keys = MappingProxyType({"optim": "adalomo"})
    moves_at_once = True


def test_a_step_of_lomo_computed_by_hand() -> None:
    weight = torch.ones(2, 2)
    descend(weight, torch.tensor([[1.0, 2.0], [3.0, -4.0]]), {}, {"lr": 0.1, "weight_decay": 0.5})
    assert torch.allclose(weight, torch.tensor([[0.85, 0.75], [0.65, 1.35]]))


def test_a_step_of_adalomo_computed_by_hand() -> None:
    """Squares 1 4 / 9 16: means of rows 2.5 and 12.5, of columns 5 and 10, of all 7.5.

    The estimates are row · column / 7.5: 5/3, 10/3, 25/3, 50/3. The update's mean square is below 1 or is made so. The weight's
    own size is 2.
    """
    weight, gradient = torch.full((2, 2), 2.0), torch.tensor([[1.0, 2.0], [3.0, -4.0]])
    adapt(weight, gradient, {}, GROUP)
    update = gradient / torch.tensor([[5 / 3, 10 / 3], [25 / 3, 50 / 3]]).sqrt()
    update = update / max(1.0, update.pow(2).mean().sqrt().item())
    assert torch.allclose(weight, 2.0 - 0.1 * 2.0 * update)


def test_the_mean_square_forgets_more_slowly_with_time() -> None:
    """The first step takes the square as it is; the second keeps 1 − 2^−0.8 of it."""
    state = {}
    weight = torch.ones(3)
    adapt(weight, torch.full((3,), 2.0), state, GROUP)
    assert torch.allclose(state["square"], torch.full((3,), 4.0))
    adapt(weight, torch.zeros(3), state, GROUP)
    assert torch.allclose(state["square"], torch.full((3,), 4.0 * (1 - 2**-0.8)))


def test_clipping_numbers_of_a_gradient() -> None:
    weight = torch.zeros(2, 2, requires_grad=True)
    plan = hand_plan(LomoOptions(lomo_clip_value=0.5), optim="lomo")
    LomoOptimizer(plan).build(None, [{"params": [weight]}], TrainingArguments(learning_rate=1.0, use_cpu=True))  # type: ignore[arg-type]
    (weight * torch.tensor([[0.1, 3.0], [-0.2, -9.0]])).sum().backward()
    assert torch.allclose(weight, torch.tensor([[-0.1, -0.5], [0.2, 0.5]]))
    assert weight.grad is None


def test_plan_errors() -> None:
    plan = hand_plan(LomoOptions(), picked={"optimizers": "lomo"}, optim="lomo", max_grad_norm=1.0)
    assert [problem.instead for problem in tunesmith_check_plan(plan)] == ["Write max_grad_norm: 0, or leave optim: lomo out."]


def test_what_is_kept() -> None:
    assert no_states({"a": (8, 4)}, {}.__getitem__) == 0
    assert factored_states({"a": (8, 4), "b": (4,)}, {}.__getitem__) == pytest.approx((8 + 4 + 4) / 36)
