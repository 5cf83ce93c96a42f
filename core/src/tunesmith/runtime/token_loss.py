"""Cross-entropy of next tokens, each with its weight."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch.nn.functional import cross_entropy

from tunesmith.runtime.collate import IGNORED


def token_loss(
    logits: torch.Tensor, labels: torch.Tensor, weights: torch.Tensor | None, total: torch.Tensor, *, smoothing: float = 0.0
) -> torch.Tensor:
    """The weighted sum of the losses of all predicted tokens over ``total``.

    With the weights of a whole accumulated batch as ``total`` the sum over its parts does not depend on how it was split.

    :param logits: (rows, length, vocabulary); those of one place predict the label of the next.
    :param labels: (rows, length); -100 is not learned.
    :param weights: (rows, length) or ``None`` for 1 everywhere.
    :param smoothing: label smoothing, the share that goes to all tokens alike.
    """
    return weighted_mean(token_losses(logits, labels, smoothing=smoothing), weights, total)


def token_losses(logits: torch.Tensor, labels: torch.Tensor, *, smoothing: float = 0.0) -> torch.Tensor:
    """The loss of each place's next token, (rows, length - 1) in float32; 0 where it is not learned."""
    targets = labels[:, 1:].to(logits.device)
    answers = logits[:, :-1].reshape(-1, logits.shape[-1]).float()
    each = cross_entropy(answers, targets.reshape(-1), ignore_index=IGNORED, reduction="none", label_smoothing=smoothing)
    return each.view(targets.shape)


def plain_losses(model: Any, inputs: Mapping[str, Any], labels: torch.Tensor, smoothing: float) -> tuple[torch.Tensor, Any]:
    """Run ``model`` and give :func:`token_losses` and its outputs: what an accelerator's ``"token"`` loss stands in for."""
    outputs = model(**inputs)
    return token_losses(outputs["logits"], labels, smoothing=smoothing), outputs


def weighted_mean(losses: torch.Tensor, weights: torch.Tensor | None, total: torch.Tensor) -> torch.Tensor:
    """The sum of ``losses`` (rows, length - 1), each times the weight of the token it is for, over ``total``."""
    if weights is not None:
        losses = losses * weights[:, 1:].to(losses.device)
    return losses.sum() / total.to(losses.device)
