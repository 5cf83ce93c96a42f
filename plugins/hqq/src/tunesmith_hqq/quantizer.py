"""Weights in few bits by hqq itself: transformers 5.23 cannot quantise with it while it loads."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import torch
from hqq.core.quantize import BaseQuantizeConfig, HQQLinear
from transformers.quantizers.base import get_keys_to_not_convert
from tunesmith import TunesmithError
from tunesmith.contracts import Quantizer
from tunesmith.runtime.packing import describe_packed

from tunesmith_hqq.options import HqqOptions

if TYPE_CHECKING:
    from transformers import PreTrainedModel
    from tunesmith.plan import ModelWish, Plan

log = logging.getLogger(__name__)


class HqqQuantizer(Quantizer):
    """Half-quadratic quantisation (Badri and Shaji 2023, mobiusml.github.io/hqq_blog): scales and zeros without any data.

    The model is loaded in plain weights, and its linear layers are replaced one by one, each freeing its own.
    """

    def __init__(self, plan: Plan) -> None:
        self._options = plan.options(HqqOptions)

    def arguments(self, wish: ModelWish, dtype: torch.dtype) -> dict[str, Any]:
        """Nothing: the weights are loaded as they are."""
        return {}

    def after_load(self, model: PreTrainedModel, wish: ModelWish) -> PreTrainedModel:
        """Replace the linear layers, but for the output head.

        :raises TunesmithError: rows of a layer cannot be cut into groups of the wanted size.
        """
        kept = get_keys_to_not_convert(model)
        layers = [(name, module) for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)]
        for name, layer in layers:
            if name not in kept:
                parent, _, word = name.rpartition(".")
                setattr(model.get_submodule(parent), word, self._packed(name, layer, int(wish.bits or 0)))
        return model

    def _packed(self, name: str, layer: torch.nn.Linear, bits: int) -> HQQLinear:
        size = self._options.hqq_group_size
        if layer.in_features % size:
            what = f"hqq_group_size: {size} does not divide the {layer.in_features} weights of a row of {name}."
            raise TunesmithError(what, "Write a smaller power of two.")
        config = BaseQuantizeConfig(nbits=bits, group_size=size, axis=1)
        packed = HQQLinear(layer, config, compute_dtype=layer.weight.dtype, device=str(layer.weight.device))
        packed.requires_grad_(False)
        return packed

    def check(self, model: PreTrainedModel, wish: ModelWish) -> None:
        """There are layers of hqq's.

        :raises TunesmithError: there is none.
        """
        packed = [module for module in model.modules() if isinstance(module, HQQLinear)]
        if not packed:
            hint = "Is it a model with linear layers of torch's own?"
            raise TunesmithError(f"hqq quantised nothing of {type(model).__name__}.", hint)
        log.info(describe_packed(model, packed))
