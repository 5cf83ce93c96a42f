"""One number for a whole text, by a value head or by a model that was made to classify."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from functools import cache
from typing import Any

import torch

from tunesmith.runtime.collate import SEEN


def scores(model: Any, batch: Mapping[str, Any]) -> torch.Tensor:
    """What ``model`` thinks of each row: its value at the last token, or its only label.

    :param batch: ``input_ids`` and ``attention_mask``, (rows, length); padding may be on either side. ``seen``: what the model
        is given beside text.
    :return: (rows,) in float32.
    """
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask")} | batch.get(SEEN, {})
    if counts_logits(type(unwrapped(model))):
        inputs["logits_to_keep"] = 1  # nobody looks at the logits, and they are the largest tensor there is
    outputs = model(**inputs, use_cache=False)
    if "value" not in outputs:
        only: torch.Tensor = outputs["logits"][:, 0].float()
        return only
    mask = batch["attention_mask"]
    last = (mask * torch.arange(1, mask.shape[1] + 1, device=mask.device)).argmax(dim=1)
    found: torch.Tensor = outputs["value"].gather(1, last[:, None].to(outputs["value"].device)).squeeze(1)
    return found


def unwrapped(model: Any) -> Any:
    """The model itself, without what spreads it and without an adapter."""
    while hasattr(model, "module"):
        model = model.module
    return model.get_base_model() if hasattr(model, "get_base_model") else model


@cache
def counts_logits(kind: type) -> bool:
    """Whether a model of this class can be told how many logits are wanted."""
    return "logits_to_keep" in inspect.signature(kind.forward).parameters
