"""One number or one vector for a whole text: what a value head says of it, and the mean of its last hidden states."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from tunesmith.errors import TunesmithError
from tunesmith.runtime.scores import scores, unwrapped
from tunesmith.runtime.value_head import value_head

from tunesmith_huggingface.rows import padded

ROWS = 8
"""Texts that pass through the model at once."""


def check_rows(rows: Sequence[Sequence[int]], context: int | None) -> None:
    """Refuse texts that are empty or longer than the model's context.

    :raises TunesmithError: names the first.
    """
    for number, row in enumerate(rows):
        if not row:
            raise TunesmithError(f"Text {number} has no tokens.", "Encode a text first.")
        if context is not None and len(row) > context:
            raise TunesmithError(f"Text {number} has {len(row)} tokens; the model can see {context}.", "Shorten it.")


def check_scores(model: Any, head: str) -> None:
    """Refuse a model that rates nothing.

    :raises TunesmithError: it has neither a value head nor a single label.
    """
    if head != "score" and value_head(model) is None:
        raise TunesmithError("The model writes texts and rates none.", "Give a reward model: stage: rm")


def check_embeds(model: Any) -> None:
    """Refuse a model whose hidden states are not those of the text alone.

    :raises TunesmithError: an adapter puts a learned prompt before every text.
    """
    if any(getattr(config, "is_prompt_learning", False) for config in getattr(model, "peft_config", {}).values()):
        raise TunesmithError("A model with a learned prompt cannot embed.", "Leave the adapter out.")


def score_batch(model: Any, rows: Sequence[Sequence[int]], pad: int) -> list[float]:
    """What the model's head says at the last token of each row."""
    found: list[float] = scores(model, _inputs(model, rows, pad)).tolist()
    return found


def embed_batch(model: Any, rows: Sequence[Sequence[int]], pad: int) -> list[list[float]]:
    """The mean of the decoder's last hidden states over each row's own tokens, divided by its length, in float32.

    This is the pooling of Reimers and Gurevych 2019 (arXiv:1908.10084).
    """
    inputs = _inputs(model, rows, pad)
    hidden = unwrapped(model).get_decoder()(**inputs, use_cache=False).last_hidden_state.float()
    mask = inputs["attention_mask"].unsqueeze(-1).to(hidden.device, hidden.dtype)
    means = (hidden * mask).sum(dim=1) / mask.sum(dim=1)
    found: list[list[float]] = torch.nn.functional.normalize(means, dim=-1).tolist()
    return found


def _inputs(model: Any, rows: Sequence[Sequence[int]], pad: int) -> dict[str, torch.Tensor]:
    ids, mask = padded(rows, pad)
    device = next(model.parameters()).device
    return {"input_ids": ids.to(device), "attention_mask": mask.to(device)}
