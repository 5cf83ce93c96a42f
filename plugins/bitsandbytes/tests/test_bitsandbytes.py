"""The quantizer ``bitsandbytes`` against the conformance suite."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tunesmith.testing import PluginSuite, QuantizerSuite
from tunesmith_bitsandbytes.options import BitsandbytesOptions
from tunesmith_bitsandbytes.plugin import SPEC


class TestPlugin(PluginSuite):
    plugin = "bitsandbytes"
    folder = Path(__file__).parents[1]


class Case(QuantizerSuite):
    spec = SPEC
    options: tuple[Any, ...] = (BitsandbytesOptions(),)


class TestFourBits(Case):
    bits = 4


class TestFloatingPoint(Case):
    bits = 4
    options = (BitsandbytesOptions(quantization_type="fp4"),)
    tolerance = 0.35


class TestEightBits(Case):
    bits = 8
    tolerance = 0.05


class TestAlreadyQuantised(Case):
    """A model that was saved in four bits is read as it is."""

    def folder(self, base: Path) -> Path:
        from transformers import AutoModelForCausalLM, BitsAndBytesConfig

        plain = super().folder(base)
        config = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4")
        model = AutoModelForCausalLM.from_pretrained(plain, quantization_config=config, device_map={"": "cpu"})
        model.save_pretrained(base / "packed")
        return base / "packed"
