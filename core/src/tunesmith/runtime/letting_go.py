"""Freeing a model's memory while others still point at the model."""

from __future__ import annotations

import torch


def let_go(model: torch.nn.Module) -> None:
    """Free a model's weights, whoever still has the model or, as optimizers do, what learned in it.

    Nothing can be asked of the model afterwards. Moving it to the device ``meta`` would do as well, but quantised weights
    cannot be moved there.
    """
    for module in model.modules():
        for name, weight in list(module.named_parameters(recurse=False)):
            if weight.requires_grad:
                weight.grad = None
                weight.data = weight.data.new_empty(0)
            module.register_parameter(name, None)
