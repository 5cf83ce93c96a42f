"""BAdam against its paper, and against the conformance suite."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
import torch
from transformers import TrainingArguments
from tunesmith.errors import TunesmithError
from tunesmith.plan import Spread
from tunesmith.testing import OptimizerSuite, PluginSuite
from tunesmith.testing.hand_plan import hand_plan
from tunesmith.testing.tiny_models import tiny_batch, tiny_llama
from tunesmith_badam.blocks import block_of
from tunesmith_badam.counting import count_states
from tunesmith_badam.layers import LayersInTurn, Turns
from tunesmith_badam.optimizer import BadamOptimizer
from tunesmith_badam.options import BadamOptions
from tunesmith_badam.plugin import BADAM, tunesmith_check_plan
from tunesmith_badam.shares import Share

DEFAULTS = {"lr": 0.1, "betas": (0.9, 0.999), "eps": 0.0, "weight_decay": 0.0}


class TestPlugin(PluginSuite):
    plugin = "badam"
    folder = Path(__file__).parents[1]


class Case(OptimizerSuite):
    spec = BADAM
    plugin = "tunesmith_badam.plugin"


class TestLayers(Case):
    keys = MappingProxyType({"use_badam": True, "badam_switch_interval": 2, "badam_switch_mode": "random"})


class TestLayersInReentrantCheckpoints(Case):
    keys = MappingProxyType(
        {
            "use_badam": True,
            "badam_switch_interval": 4,
            "badam_switch_mode": "descending",
            "disable_gradient_checkpointing": False,
        }
    )


class TestLayersInBfloat16(Case):
    keys = MappingProxyType({"use_badam": True, "badam_switch_interval": 2, "pure_bf16": True})


class TestAdjacentShare(Case):
    keys = MappingProxyType({"use_badam": True, "badam_mode": "ratio", "badam_update_ratio": 0.5, "badam_switch_interval": 2})


class TestScatteredShare(Case):
    keys = MappingProxyType(
        {
            "use_badam": True,
            "badam_mode": "ratio",
            "badam_update_ratio": 0.5,
            "badam_switch_interval": 2,
            "badam_mask_mode": "scatter",
        }
    )


def in_turn(mode: str, start: int | None = None, interval: int = 1, layers: int = 3) -> tuple[list[torch.Tensor], LayersInTurn]:
    weights = [torch.zeros(2, 2, requires_grad=True) for _ in range(layers)]
    named = {f"layers.{n}": {f"layers.{n}.w": weight} for n, weight in enumerate(weights)}
    return weights, LayersInTurn([{"params": weights}], named, Turns(mode, interval, start, seed=3), DEFAULTS)


def order(mode: str, start: int | None = None, steps: int = 6) -> list[int]:
    weights, optimizer = in_turn(mode, start)
    found = []
    for _ in range(steps):
        found += [n for n, weight in enumerate(weights) if weight.requires_grad]
        optimizer.step()
    return found


def test_a_step_computed_by_hand() -> None:
    """Adam's first step is the sign of the gradient times the rate, on the layer whose turn it is."""
    weights, optimizer = in_turn("ascending")
    for weight in weights:
        weight.grad = torch.tensor([[2.0, -4.0], [1.0, -8.0]]) if weight.requires_grad else None
    optimizer.step()
    assert torch.allclose(weights[0], torch.tensor([[-0.1, 0.1], [-0.1, 0.1]]))
    assert not weights[1].any()
    assert not optimizer.state[weights[0]], "its turn is over, and its moments are let go"
    assert weights[0].grad is None


def test_layers_take_turns() -> None:
    assert order("ascending") == [0, 1, 2, 0, 1, 2]
    assert order("descending") == [2, 1, 0, 2, 1, 0]
    assert order("ascending", start=1) == [1, 2, 0, 1, 2, 0]
    assert order("fixed", start=2) == [2] * 6
    found = order("random")
    assert sorted(found[:3]) == sorted(found[3:]) == [0, 1, 2]


def test_steps_too_small_for_bfloat16_add_up() -> None:
    """1 + 0.001 is 1 in bfloat16; ten such steps are not."""
    weight = torch.ones(2, 2, dtype=torch.bfloat16, requires_grad=True)
    turns = Turns("fixed", 0, None, seed=0)
    optimizer = LayersInTurn([{"params": [weight], "lr": 0.001}], {"layers.0": {"w": weight}}, turns, DEFAULTS)
    for _ in range(10):
        weight.grad = -torch.ones_like(weight)
        optimizer.step()
    assert weight.float().mean().item() == pytest.approx(1.0078125)


@pytest.mark.parametrize(("scattered", "turns"), [(False, [[0, 1, 2], [3, 4, 5], [6, 7, 8]]), (True, None)])
def test_a_share_learns_and_then_the_next(scattered: bool, turns: list[list[int]] | None) -> None:
    weight = torch.zeros(10, 12)
    share = Share(3 / 120, 1, scattered, {weight: 7})
    state: dict[str, Any] = {}
    found = []
    for _ in range(3):
        before = weight.clone()
        share.step(weight, torch.ones_like(weight), state, {**DEFAULTS, "eps": 1e-8})
        found.append((weight != before).flatten().nonzero().flatten().tolist())
    assert [len(turn) for turn in found] == [3, 3, 3]
    assert len({n for turn in found for n in turn}) == 9
    assert torch.allclose(weight[weight != 0], torch.tensor(-0.1))
    assert turns is None or found == turns


def test_what_a_layer_is() -> None:
    assert block_of("model.layers.3.mlp.up_proj.weight") == "model.layers.3"
    assert block_of("transformer.h.11.attn.weight") == "transformer.h.11"
    assert block_of("model.norm.weight") == ""


def build(**options: Any) -> tuple[Any, torch.optim.Optimizer]:
    model = tiny_llama()
    made = BadamOptimizer(hand_plan(BadamOptions(use_badam=True, **options)))
    return model, made.build(model, [{"params": list(model.parameters())}], TrainingArguments(use_cpu=True))


def test_only_the_layer_has_gradients() -> None:
    model, _ = build(badam_start_block=1)
    model(**tiny_batch()).loss.backward()
    assert {block_of(name) for name, weight in model.named_parameters() if weight.grad is not None} == {"model.layers.1"}


def test_a_layer_that_is_not_there_is_an_error() -> None:
    with pytest.raises(TunesmithError, match="badam_start_block is 2, and 2 layers learn"):
        build(badam_start_block=2)


@pytest.mark.parametrize(
    ("mode", "spread", "found"),
    [
        ("layer", Spread(2, 1, "weights"), []),
        ("layer", Spread(1, 1, "nothing"), []),
        ("layer", Spread(2, 1, "nothing"), ["changes which gradients processes share"]),
        ("layer", Spread(2, 1, "optimizer"), ["changes which gradients processes share"]),
        ("ratio", Spread(2, 1, "nothing"), []),
        ("ratio", Spread(2, 1, "weights"), ["looks at whole weights"]),
    ],
)
def test_what_processes_can_share(mode: Any, spread: Spread, found: list[str]) -> None:
    plan = replace(hand_plan(BadamOptions(use_badam=True, badam_mode=mode), picked={"optimizers": "badam"}), spread=spread)
    problems = list(tunesmith_check_plan(plan))
    assert [any(words in problem.what for words in found) for problem in problems] == [True] * len(found)


def test_keys_about_layers_are_no_keys_about_shares() -> None:
    plan = hand_plan(BadamOptions(badam_mode="ratio", badam_start_block=3), picked={"optimizers": "badam"})
    assert [p.what for p in tunesmith_check_plan(plan)] == ["badam_start_block is about layers, and badam_mode is ratio"]


def test_what_is_kept() -> None:
    shapes = {"model.layers.0.a": (4, 4), "model.layers.1.a": (4, 4), "model.embed": (8, 4)}
    values = {"badam_mode": "layer", "badam_update_ratio": 0.1, "pure_bf16": False}
    assert count_states(shapes, values.__getitem__) == pytest.approx(2 * 16 / 64)
    assert count_states(shapes, {**values, "badam_mode": "ratio"}.__getitem__) == pytest.approx(0.2)
