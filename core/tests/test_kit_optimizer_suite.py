"""The suite for optimizers: a good one passes, and each fault it promises to find is found. And the shared steps."""

from __future__ import annotations

from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar

import pytest
import torch
from tunesmith import OptimizerSpec, Switch, TunesmithError, hookimpl
from tunesmith.contracts import Optimizer
from tunesmith.plan import Plan
from tunesmith.runtime.low_rank import leading, random
from tunesmith.runtime.weight_by_weight import WeightByWeight, adam_defaults, adamw
from tunesmith.runtime.weight_groups import linear_weights, split
from tunesmith.testing import OptimizerSuite
from tunesmith.testing.tiny_models import tiny_batch, tiny_llama

TUNESMITH_API = (1, 0)
SPEC = OptimizerSpec("acme", f"{__name__}:Acme", "AdamW, for tests.", switch=Switch("optim", "acme"))


@hookimpl
def tunesmith_optimizers() -> list[OptimizerSpec]:
    return [SPEC]


class Acme(Optimizer):
    def __init__(self, plan: Plan) -> None:
        self.at_once = False

    def build(self, model: Any, groups: list[dict[str, Any]], arguments: Any) -> torch.optim.Optimizer:
        return WeightByWeight(groups, adamw, adam_defaults(arguments), at_once=self.at_once)


class AtOnce(Acme):
    def __init__(self, plan: Plan) -> None:
        self.at_once = True

    def arguments(self, plan: Plan) -> dict[str, Any]:
        return {"max_grad_norm": 0.0}


class TestInStep(OptimizerSuite):
    spec = SPEC
    plugin = __name__
    keys = MappingProxyType({"optim": "acme"})


class TestAtOnce(OptimizerSuite):
    spec: ClassVar = OptimizerSpec("acme", f"{__name__}:AtOnce", "AdamW, for tests.", switch=Switch("optim", "acme"))
    plugin = __name__
    moves_at_once = True


# ---- the faults it finds -----------------------------------------------------------------------------------------------


class Forgetful(WeightByWeight):
    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "state": {}}


class Deaf(WeightByWeight):
    def __init__(self, groups: list[dict[str, Any]], *args: Any, **kwargs: Any) -> None:
        super().__init__([{"params": group["params"]} for group in groups], *args, **kwargs)


def suite_of(kind: type[WeightByWeight]) -> OptimizerSuite:
    class Suite(OptimizerSuite):
        spec = SPEC
        plugin = __name__

        def made(self, model: Any, groups: list[dict[str, Any]], folder: Path) -> torch.optim.Optimizer:
            return kind(groups, adamw, {"lr": 1e-2, "betas": (0.9, 0.99), "eps": 1e-8, "weight_decay": 0.0})

    return Suite()


def test_lost_state_is_found(tmp_path: Path) -> None:
    with pytest.raises(AssertionError):
        suite_of(Forgetful).test_its_state_goes_through_files_without_pickle(tmp_path)


def test_lost_groups_are_found(tmp_path: Path) -> None:
    with pytest.raises(AssertionError):
        suite_of(Deaf).test_a_group_keeps_its_own_learning_rate(tmp_path)


# ---- the shared steps --------------------------------------------------------------------------------------------------


def test_adamw_as_a_rule_takes_torchs_steps() -> None:
    models = tiny_llama(), tiny_llama()
    keys = {"lr": 1e-2, "betas": (0.9, 0.99), "eps": 1e-8, "weight_decay": 0.1}
    ours = WeightByWeight([{"params": list(models[0].parameters())}], adamw, keys)
    theirs = torch.optim.AdamW(models[1].parameters(), **keys)
    for step in range(4):
        for model, optimizer in zip(models, (ours, theirs), strict=True):
            model(**tiny_batch(seed=step)).loss.backward()
            optimizer.step()
            optimizer.zero_grad()
    for a, b in zip(models[0].parameters(), models[1].parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=2e-6)


def test_state_comes_back_in_the_format_it_was_saved_in() -> None:
    weight = torch.zeros(2, dtype=torch.bfloat16, requires_grad=True)

    def rule(weight: Any, gradient: Any, state: dict[str, Any], group: Any) -> None:
        state |= {"exact": torch.tensor([1.001]), "small": torch.tensor([7], dtype=torch.uint8), "list": [torch.ones(1)]}

    made = [WeightByWeight([{"params": [weight]}], rule, {"lr": 1.0}) for _ in range(2)]
    weight.grad = torch.ones_like(weight)
    made[0].step()
    made[1].load_state_dict(made[0].state_dict())
    state = made[1].state[weight]
    assert state["exact"].dtype is torch.float32
    assert state["exact"].item() == pytest.approx(1.001)
    assert state["small"].dtype is torch.uint8


def test_all_linear_layers_are_all_but_the_head() -> None:
    model = tiny_llama()
    found = linear_weights(model, ("all",), "acme_target")
    assert len(found) == 14
    assert model.lm_head.weight not in set(found)
    assert len(linear_weights(model, ("self_attn.q_proj", "down_proj"), "acme_target")) == 4
    with pytest.raises(TunesmithError, match="acme_target: no linear layer that learns is called q_porj") as caught:
        linear_weights(model, ("q_porj",), "acme_target")
    assert "q_proj" in caught.value.hint


def test_splitting_groups_keeps_what_they_say() -> None:
    a, b, c = (torch.zeros(1) for _ in range(3))
    groups = split([{"params": [a, b], "lr": 1.0}, {"params": [c], "lr": 2.0}], [b], {"rank": 4})
    assert [(len(group["params"]), group["lr"], group.get("rank")) for group in groups] == [
        (1, 1.0, 4),
        (1, 1.0, None),
        (1, 2.0, None),
    ]


@pytest.mark.parametrize("kind", ["std", "reverse_std", "left", "right", "both"])
def test_a_gradient_goes_down_and_up_again(kind: str) -> None:
    gradient = torch.randn(5, 4, generator=torch.Generator().manual_seed(0))
    space = leading(gradient, 4 if kind != "std" else 3, kind)
    low = space.down(gradient)
    assert low.shape == torch.Size(
        {"std": (5, 3), "reverse_std": (4, 4), "left": (4, 4), "right": (5, 4), "both": (4, 4)}[kind]
    )
    again = space.down(space.up(low))
    torch.testing.assert_close(again, low)


def test_a_random_subspace_is_known_by_its_seed() -> None:
    gradient = torch.ones(6, 4)
    first, second, other = (random(gradient, 2, "std", seed).right for seed in (1, 1, 2))
    assert torch.equal(first, second)
    assert not torch.equal(first, other)
    assert first.shape == (4, 2)
