"""The quantizer ``eetq``: what its package says, and models that say they are quantised by it."""

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
from tunesmith_eetq.plugin import SPEC
from tunesmith_eetq.quantizer import EetqQuantizer


class TestPlugin(PluginSuite):
    plugin = "eetq"
    folder = Path(__file__).parents[1]


def test_a_model_that_it_has_quantised_is_recognised_while_planning(tmp_path: Path) -> None:
    """The plan names this package, and the packages it needs that are not here."""
    plan = recognised(tmp_path, quant_method="eetq", bits=4)
    wish = plan.models["policy"]
    assert (wish.quantizer, wish.packed) == ("eetq@eetq", True)
    missing = "\n".join(map(str, plan.missing))
    assert all(package in missing for package in SPEC.needs if not here(package)), missing


def here(package: str) -> bool:
    from importlib.util import find_spec

    return find_spec(package) is not None


class EetqLinear(torch.nn.Linear):
    """Stands for a layer of the library, which is not installed; known by its name alone, and holding plain weights."""


def test_a_model_without_such_layers_is_refused() -> None:
    wish = ModelWish("policy", "somewhere", quantizer="eetq", packed=True)
    model = tiny_llama()
    with pytest.raises(TunesmithError, match="No layer of LlamaForCausalLM from somewhere is quantised"):
        EetqQuantizer(hand_plan()).check(model, wish)
    model.model.layers[0].mlp.up_proj = EetqLinear(64, 128)
    EetqQuantizer(hand_plan()).check(model, wish)
    with pytest.raises(TunesmithError, match="still quantised"):
        EetqQuantizer(hand_plan()).check(model, ModelWish("policy", "somewhere", quantizer="eetq"))


def test_it_wants_a_gpu(tmp_path: Path) -> None:
    """On a processor the plan says which kernels are lacking."""
    missing = "\n".join(map(str, recognised(tmp_path, quant_method="eetq").missing))
    assert "eetq is made of cutlass kernels, which the backend cpu cannot run" in missing


def test_it_asks_transformers_for_eight_bits() -> None:
    wish = ModelWish("policy", "somewhere", bits=8, quantizer="eetq", packed=True)
    config = EetqQuantizer(hand_plan()).arguments(wish, torch.float16)["quantization_config"]
    assert (config.quant_method, config.weights) == ("eetq", "int8")
