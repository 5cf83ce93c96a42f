"""The quantizer ``bitsandbytes`` against the conformance suite."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from tunesmith.plan import ModelWish, Plan, Spread
from tunesmith.testing import PluginSuite, QuantizerSuite
from tunesmith.testing.hand_plan import hand_plan
from tunesmith_bitsandbytes.options import BitsandbytesOptions
from tunesmith_bitsandbytes.plugin import SPEC
from tunesmith_bitsandbytes.quantizer import BitsandbytesQuantizer


class TestPlugin(PluginSuite):
    plugin = "bitsandbytes"
    folder = Path(__file__).parents[1]


class Case(QuantizerSuite):
    spec = SPEC
    options: tuple[Any, ...] = (BitsandbytesOptions(),)


def held(model: Any) -> set[tuple[str, bool]]:
    """The format of each packed weight, and whether its scales are quantised as well."""
    states = [state for weight in model.parameters() if (state := getattr(weight, "quant_state", None)) is not None]
    return {(state.quant_type, state.nested) for state in states}


class TestFourBits(Case):
    bits = 4

    def test_scales_are_quantised_as_well(self, model_folder: Path) -> None:
        assert held(self.loaded(model_folder)[1]) == {("nf4", True)}


class TestScalesInFull(Case):
    bits = 4
    options = (BitsandbytesOptions(double_quantization=False),)

    def test_scales_stay_whole(self, model_folder: Path) -> None:
        assert held(self.loaded(model_folder)[1]) == {("nf4", False)}


class TestFloatingPoint(Case):
    bits = 4
    options = (BitsandbytesOptions(quantization_type="fp4"),)
    tolerance = 0.35

    def test_its_numbers_are_of_that_format(self, model_folder: Path) -> None:
        assert held(self.loaded(model_folder)[1]) == {("fp4", True)}


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


class TestStoredToBeShared(Case):
    """As strategies that cut weights into parts want it: four bits in the bytes of a floating-point format."""

    bits = 4

    @cached_property
    def plan(self) -> Plan:
        return replace(super().plan, spread=Spread(2, 2, "weights"))

    def test_packed_weights_are_of_the_format_of_the_others(self, model_folder: Path) -> None:
        _, model = self.loaded(model_folder)
        assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


def test_where_each_process_holds_them_all_they_are_bytes() -> None:
    quantizer = BitsandbytesQuantizer(hand_plan(BitsandbytesOptions()))
    config = quantizer.arguments(ModelWish("policy", "m", bits=4, packed=True), torch.bfloat16)["quantization_config"]
    assert (config.bnb_4bit_quant_storage, config.bnb_4bit_compute_dtype) == (torch.uint8, torch.bfloat16)
