"""Weights in few bits by bitsandbytes, through transformers."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import torch
from bitsandbytes.nn import Linear4bit, Linear8bitLt
from transformers import BitsAndBytesConfig
from tunesmith import TunesmithError
from tunesmith.contracts import Quantizer
from tunesmith.runtime.packing import describe_packed

from tunesmith_bitsandbytes.options import BitsandbytesOptions

if TYPE_CHECKING:
    from transformers import PreTrainedModel
    from tunesmith.plan import ModelWish, Plan

log = logging.getLogger(__name__)

KINDS = {4: Linear4bit, 8: Linear8bitLt}


class BitsandbytesQuantizer(Quantizer):
    """NF4 and FP4 (Dettmers et al. 2023, arXiv:2305.14314) and LLM.int8 (Dettmers et al. 2022, arXiv:2208.07339)."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._options = plan.options(BitsandbytesOptions)

    def arguments(self, wish: ModelWish, dtype: torch.dtype) -> dict[str, Any]:
        """transformers' own configuration. A model that is quantised already has brought it."""
        placed = {"device_map": "auto"} if self._options.quantization_device_map else {}
        return {"quantization_config": self._config(wish.bits, dtype), **placed} if wish.bits else placed

    def _config(self, bits: int, dtype: torch.dtype) -> BitsAndBytesConfig:
        if bits == 8:
            return BitsAndBytesConfig(load_in_8bit=True)
        return BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type=self._options.quantization_type,
            bnb_4bit_use_double_quant=self._options.double_quantization,
            bnb_4bit_compute_dtype=dtype,
            # Weights can be cut into parts only where packed ones look like the others.
            bnb_4bit_quant_storage=dtype if self._plan.spread.shards == "weights" else None,
        )

    def after_load(self, model: PreTrainedModel, wish: ModelWish) -> PreTrainedModel:
        """Keep the weights in the order in which gradients can be had.

        On processors with AVX512-BF16, bitsandbytes 0.50 reorders a layer's weights at its first evaluation for a kernel that
        has no backward pass, and goes on using it when training resumes: gradients stop there without a word. The kernel also
        fails on layers narrower than its blocks.
        """
        if self._plan.command == "train":
            for module in model.modules():
                if isinstance(module, Linear4bit):
                    module.support_avx512bf16_for_cpu = False
        return model

    def check(self, model: PreTrainedModel, wish: ModelWish) -> None:
        """Every quantised layer is of bitsandbytes' class for these bits and holds whole numbers.

        :raises TunesmithError: there is none.
        """
        kinds = (KINDS[wish.bits],) if wish.bits else tuple(KINDS.values())
        packed = [module for module in model.modules() if isinstance(module, kinds) and _holds_integers(module)]
        if not packed:
            hint = "Is it a model with linear layers of transformers' own?"
            raise TunesmithError(f"bitsandbytes quantised nothing of {type(model).__name__}.", hint)
        log.info(describe_packed(model, packed))


def _holds_integers(module: Any) -> bool:
    return getattr(module.weight, "quant_state", None) is not None or module.weight.dtype == torch.int8
