"""Cross-entropy of next tokens, each with its weight."""

from __future__ import annotations

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
    targets = labels[:, 1:].reshape(-1)
    answers = logits[:, :-1].reshape(-1, logits.shape[-1]).float()
    each = cross_entropy(answers, targets.to(answers.device), ignore_index=IGNORED, reduction="none", label_smoothing=smoothing)
    if weights is not None:
        each = each * weights[:, 1:].reshape(-1).to(each.device)
    return each.sum() / total.to(each.device)
