"""Dropout, for stages that compare what a model says now with what it said before."""

from __future__ import annotations

from typing import Any

import torch


def switch_dropout_off(model: Any) -> None:
    """Make a model answer in training as it does afterwards, adapters included."""
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
        if isinstance(getattr(module, "attention_dropout", None), float):
            module.attention_dropout = 0.0
