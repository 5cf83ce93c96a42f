"""Parts of a model that stay in float32 while the rest computes in half precision."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from tunesmith.plan import Plan
from tunesmith.runtime.precision import is_on

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def upcast(model: PreTrainedModel, plan: Plan) -> None:
    """``upcast_layernorm`` and ``upcast_lmhead_output``."""
    if is_on(plan, "upcast_layernorm"):
        for name, weight in model.named_parameters():
            if weight.ndim == 1 and "norm" in name.lower():
                weight.data = weight.data.float()
    if is_on(plan, "upcast_lmhead_output"):
        model.get_output_embeddings().register_forward_hook(_in_float32)


def _in_float32(module: torch.nn.Module, inputs: Any, logits: torch.Tensor) -> torch.Tensor:
    return logits.float()
