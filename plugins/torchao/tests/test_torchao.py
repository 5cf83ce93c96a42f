"""The quantizer ``torchao`` against the conformance suite, and quantisation-aware training."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torchao.quantization import Int8WeightOnlyConfig
from torchao.quantization.qat import FakeQuantizedLinear
from transformers import AutoModelForCausalLM, TorchAoConfig
from tunesmith.testing import PluginSuite, QuantizerSuite
from tunesmith.testing.tiny_models import logits
from tunesmith_torchao.options import TorchaoOptions
from tunesmith_torchao.plugin import SPEC


class TestPlugin(PluginSuite):
    plugin = "torchao"
    folder = Path(__file__).parents[1]


class Case(QuantizerSuite):
    spec = SPEC
    options = (TorchaoOptions(),)
    bits = 8


class TestWholeNumbers(Case):
    tolerance = 0.05


class TestFloatingPoint(Case):
    options = (TorchaoOptions(torchao_format="float"),)
    tolerance = 0.1


class TestAlreadyQuantised(Case):
    """A model that was saved in eight bits is read as it is."""

    bits = None
    tolerance = 0.05

    def folder(self, base: Path) -> Path:
        plain = super().folder(base)
        config = TorchAoConfig(Int8WeightOnlyConfig())
        AutoModelForCausalLM.from_pretrained(plain, quantization_config=config).save_pretrained(base / "packed")
        return base / "packed"


class TestAware(Case):
    """Quantisation-aware training: weights stay plain and answers are those of the quantised model."""

    options = (TorchaoOptions(quantization_aware=True),)

    @pytest.mark.parametrize("bits", [8, 4])
    def test_weights_stay_plain_and_learn(self, model_folder: Path, bits: int) -> None:
        type(self).bits = bits
        quantizer, model = self.loaded(model_folder, packed=False)
        quantizer.check(model, self.wish(model_folder, packed=False))
        layer = model.model.layers[0].mlp.up_proj
        assert isinstance(layer, FakeQuantizedLinear)
        assert not isinstance(model.lm_head, FakeQuantizedLinear)
        assert set(model.state_dict()) == set(AutoModelForCausalLM.from_pretrained(model_folder).state_dict())
        layer(torch.ones(1, 128)).sum().backward()
        assert layer.weight.grad.abs().sum() > 0

    def test_it_answers_as_the_quantised_model_will(self, model_folder: Path) -> None:
        type(self).bits = 8
        aware, packed = self.loaded(model_folder, packed=False)[1], self.loaded(model_folder)[1]
        plain = AutoModelForCausalLM.from_pretrained(model_folder)
        assert torch.allclose(logits(aware), logits(packed), atol=1e-4)
        assert not torch.allclose(logits(aware), logits(plain), atol=1e-3)
