"""The quantizer ``aqlm``: what its package says, and models that say they are quantised by it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tunesmith.errors import TunesmithError
from tunesmith.plan import ModelWish
from tunesmith.testing import PluginSuite
from tunesmith.testing.hand_plan import hand_plan
from tunesmith.testing.quantizer_suite import recognised
from tunesmith.testing.tiny_models import tiny_llama
from tunesmith_aqlm.plugin import SPEC
from tunesmith_aqlm.quantizer import AqlmQuantizer


class TestPlugin(PluginSuite):
    plugin = "aqlm"
    folder = Path(__file__).parents[1]


def test_a_model_that_it_has_quantised_is_recognised_while_planning(tmp_path: Path) -> None:
    """The plan names this package, and the packages it needs that are not here."""
    plan = recognised(tmp_path, quant_method="aqlm", bits=4)
    wish = plan.models["policy"]
    assert (wish.quantizer, wish.packed) == ("aqlm@aqlm", True)
    missing = "\n".join(map(str, plan.missing))
    assert all(package in missing for package in SPEC.needs if not here(package)), missing


def here(package: str) -> bool:
    from importlib.util import find_spec

    return find_spec(package) is not None


class QuantizedLinear(torch.nn.Linear):
    """Stands for a layer of the library, which is not installed; known by its name alone, and holding plain weights."""


def test_a_model_without_such_layers_is_refused() -> None:
    wish = ModelWish("policy", "somewhere", quantizer="aqlm", packed=True)
    model = tiny_llama()
    with pytest.raises(TunesmithError, match="No layer of LlamaForCausalLM from somewhere is quantised"):
        AqlmQuantizer(hand_plan()).check(model, wish)
    model.model.layers[0].mlp.up_proj = QuantizedLinear(64, 128)
    AqlmQuantizer(hand_plan()).check(model, wish)
    with pytest.raises(TunesmithError, match="still quantised"):
        AqlmQuantizer(hand_plan()).check(model, ModelWish("policy", "somewhere", quantizer="aqlm"))
