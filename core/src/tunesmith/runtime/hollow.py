"""Models that have every weight in its place and no memory behind it, for work that looks at one layer at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel


def hollow_model(kind: Any, config: PreTrainedConfig, dtype: torch.dtype) -> PreTrainedModel:
    """A model of the transformers class ``kind`` whose weights are zeros that take no memory until somebody writes to them."""
    with torch.device("meta"):
        model: PreTrainedModel = kind.from_config(config, dtype=dtype)
    return hollow_out(model)


def hollow_out(model: PreTrainedModel) -> PreTrainedModel:
    """Give ``model`` such weights in place of its own; those that were shared stay shared. It answers nonsense."""
    made: dict[int, torch.nn.Parameter] = {}
    for module in model.modules():
        for name, weight in module._parameters.items():
            if weight is not None:
                made.setdefault(id(weight), torch.nn.Parameter(_nothing(weight), requires_grad=False))
                module._parameters[name] = made[id(weight)]
        for name, buffer in module._buffers.items():
            if buffer is not None and buffer.is_meta:
                module._buffers[name] = torch.zeros(buffer.shape, dtype=buffer.dtype)
    return model.eval()


def _nothing(like: torch.Tensor) -> torch.Tensor:
    """Zeros in memory that the operating system promises and does not hand out before it is used, as numpy asks for it."""
    held = np.zeros(like.numel() * like.element_size(), dtype=np.uint8)
    return torch.from_numpy(held).view(like.dtype).view(like.shape)
