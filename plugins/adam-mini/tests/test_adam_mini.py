"""Adam-mini against its paper, and against the conformance suite."""

from __future__ import annotations

from pathlib import Path
from types import MappingProxyType, SimpleNamespace

import pytest
import torch
from tunesmith.testing import OptimizerSuite, PluginSuite
from tunesmith.testing.tiny_models import tiny_llama
from tunesmith_adam_mini.counting import count_states
from tunesmith_adam_mini.optimizer import blocks_of, step
from tunesmith_adam_mini.plugin import ADAM_MINI

GROUP = {"lr": 0.1, "betas": (0.9, 0.999), "eps": 0.0, "weight_decay": 0.0}


class TestPlugin(PluginSuite):
    plugin = "adam-mini"
    folder = Path(__file__).parents[1]


class TestOptimizer(OptimizerSuite):
    spec = ADAM_MINI
    plugin = "tunesmith_adam_mini.plugin"
    keys = MappingProxyType({"use_adam_mini": True})


@pytest.mark.parametrize(
    ("blocks", "expected"),
    [
        (2, [[3 / 5**0.5, 1 / 5**0.5], [0.0, 2 / 2**0.5]]),  # the mean squares of the rows are 5 and 2
        (1, [[3 / 3.5**0.5, 1 / 3.5**0.5], [0.0, 2 / 3.5**0.5]]),  # that of the whole is 3.5
        (0, [[1.0, 1.0], [0.0, 1.0]]),  # Adam
    ],
)
def test_a_step_computed_by_hand(blocks: int, expected: list[list[float]]) -> None:
    """The first step divides the gradient by the root of its block's mean square."""
    weight = torch.zeros(2, 2)
    group = GROUP if blocks else {**GROUP, "eps": 1e-12}
    step({weight: blocks}, weight, torch.tensor([[3.0, 1.0], [0.0, 2.0]]), {}, group)
    assert torch.allclose(weight, -0.1 * torch.tensor(expected), atol=1e-6)


def test_blocks_are_those_of_the_paper() -> None:
    model = tiny_llama()  # 4 heads, 2 of keys, 64 wide
    found = {name: blocks_of(name, weight, model.config) for name, weight in model.named_parameters()}
    layer = "model.layers.0."
    assert found[f"{layer}self_attn.q_proj.weight"] == 4
    assert found[f"{layer}self_attn.k_proj.weight"] == 2
    assert found[f"{layer}self_attn.v_proj.weight"] == 32
    assert found[f"{layer}mlp.up_proj.weight"] == 128
    assert found[f"{layer}input_layernorm.weight"] == 1
    assert found["model.embed_tokens.weight"] == found["lm_head.weight"] == 128
    assert blocks_of("a.q_proj.bias", torch.zeros(64), model.config) == 0
    assert blocks_of("a.q_proj.lora_A.default.weight", torch.zeros(8, 64), model.config) == 8
    assert blocks_of("mlp.experts.down_proj", torch.zeros(4, 64, 32), model.config) == 4 * 64


def test_heads_may_be_wider_than_the_model_divided_by_them() -> None:
    config = SimpleNamespace(num_attention_heads=4, num_key_value_heads=2, hidden_size=64)
    assert blocks_of("a.q_proj.weight", torch.zeros(4 * 128, 64), config) == 4


def test_what_is_kept() -> None:
    assert count_states({"a.weight": (8, 4), "norm": (4,)}, {}.__getitem__) == pytest.approx(1 + 9 / 36)
