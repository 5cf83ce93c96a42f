"""Weights in few bits by torchao, through transformers; and weights that learn what few bits will do to them."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import torch
from torchao.quantization import (
    Float8WeightOnlyConfig,
    Int4WeightOnlyConfig,
    Int8WeightOnlyConfig,
    IntxWeightOnlyConfig,
    PerAxis,
    quantize_,
)
from torchao.quantization.qat import FakeQuantizedLinear, QATConfig
from torchao.utils import TorchAOBaseTensor
from transformers import TorchAoConfig
from transformers.quantizers.base import get_keys_to_not_convert
from tunesmith import TunesmithError
from tunesmith.contracts import Quantizer
from tunesmith.runtime.packing import describe_packed

from tunesmith_torchao.options import TorchaoOptions

if TYPE_CHECKING:
    from transformers import PreTrainedModel
    from tunesmith.plan import ModelWish, Plan

log = logging.getLogger(__name__)


class TorchaoQuantizer(Quantizer):
    """Weight-only formats, of whole rows in eight bits and of groups in four.

    In quantisation-aware training (Jacob et al. 2018, arXiv:1712.05877) each forward pass rounds the weights as quantising
    would, and the backward pass treats the rounding as if it were not there.
    """

    def __init__(self, plan: Plan) -> None:
        self._options = plan.options(TorchaoOptions)

    def arguments(self, wish: ModelWish, dtype: torch.dtype) -> dict[str, Any]:
        """transformers' own configuration, unless weights stay plain or the model has brought it."""
        return {"quantization_config": TorchAoConfig(self._format(wish.bits))} if wish.bits and wish.packed else {}

    def after_load(self, model: PreTrainedModel, wish: ModelWish) -> PreTrainedModel:
        """Weights that stay plain are rounded on their way into each product from now on."""
        if not wish.packed:
            kept = get_keys_to_not_convert(model)
            quantize_(
                model,
                QATConfig(self._imitated(wish.bits), step="prepare"),
                filter_fn=lambda module, name: isinstance(module, torch.nn.Linear) and name not in kept,
            )
        return model

    def check(self, model: PreTrainedModel, wish: ModelWish) -> None:
        """Every quantised layer holds a tensor of torchao's, or rounds its weight.

        :raises TunesmithError: there is none.
        """
        packed = [module for module in model.modules() if _is_packed(module) or isinstance(module, FakeQuantizedLinear)]
        if not packed:
            hint = "Is it a model with linear layers of torch's own?"
            raise TunesmithError(f"torchao quantised nothing of {type(model).__name__}.", hint)
        log.info(describe_packed(model, packed))

    def _format(self, bits: int | None) -> Any:
        if bits == 4:
            return Int4WeightOnlyConfig(group_size=self._options.torchao_group_size)
        return Float8WeightOnlyConfig() if self._options.torchao_format == "float" else Int8WeightOnlyConfig()

    def _imitated(self, bits: int | None) -> Any:
        """As :meth:`_format`, in the words that torchao can imitate: it knows rows of eight bits by another name."""
        return self._format(bits) if bits == 4 else IntxWeightOnlyConfig(torch.int8, PerAxis(0))


def _is_packed(module: Any) -> bool:
    return isinstance(module, torch.nn.Linear) and isinstance(module.weight, TorchAOBaseTensor)
