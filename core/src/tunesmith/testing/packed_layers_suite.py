"""What every quantizer must show whose library packs weights into layers of its own, also where that is not installed."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar

import pytest
import torch

from tunesmith import QuantizerSpec
from tunesmith.errors import TunesmithError
from tunesmith.plan import ModelWish
from tunesmith.testing.hand_plan import hand_plan
from tunesmith.testing.quantizer_suite import recognised
from tunesmith.testing.spec_check import load
from tunesmith.testing.tiny_models import tiny_llama


class PackedLayersSuite:
    """Subclass it, name the quantizer's ``spec``, the ``plugin`` that offers it, and what its layers are called.

    :cvar layer: the name of a class of the library's linear layers, or the beginning of it.
    """

    spec: ClassVar[QuantizerSpec]
    plugin: ClassVar[str]
    layer: ClassVar[str]

    def test_a_model_that_it_has_quantised_is_recognised_while_planning(self, tmp_path: Path) -> None:
        """The plan names its package, and the packages it needs that are not here."""
        plan = recognised(tmp_path, quant_method=self.spec.reads[0], bits=4)
        wish = plan.models["policy"]
        assert (wish.quantizer, wish.packed) == (f"{self.spec.name}@{self.plugin}", True)
        missing = "\n".join(map(str, plan.missing))
        assert all(package in missing for package in self.spec.needs if find_spec(package) is None), missing

    def test_a_model_without_such_layers_is_refused(self) -> None:
        """Whether weights are what they should be is seen by the layers that hold them, not by what a file says."""
        quantizer, model = load(self.spec)(hand_plan()), tiny_llama()
        wish = ModelWish("policy", "somewhere", quantizer=self.spec.name, packed=True)
        with pytest.raises(TunesmithError, match="No layer of LlamaForCausalLM from somewhere is quantised"):
            quantizer.check(model, wish)
        # Stands for a layer of the library, known by its name alone, and holding plain weights.
        model.model.layers[0].mlp.up_proj = type(self.layer, (torch.nn.Linear,), {})(64, 128)
        quantizer.check(model, wish)
        with pytest.raises(TunesmithError, match="still quantised"):
            quantizer.check(model, ModelWish("policy", "somewhere", quantizer=self.spec.name))
