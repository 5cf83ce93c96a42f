"""Cross-entropy straight from hidden states, a chunk of tokens at a time."""

from __future__ import annotations

import torch
from torch.nn.functional import cross_entropy, linear
from torch.utils.checkpoint import checkpoint

IGNORED = -100


def linear_cross_entropy(
    hidden: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    labels: torch.Tensor,
    *,
    chunk: int,
    smoothing: float = 0.0,
) -> torch.Tensor:
    """The loss of each label, as ``cross_entropy(hidden @ weight.T + bias, labels, reduction="none")`` gives it.

    Only tokens that have a label go through the output layer, ``chunk`` of them at a time; their logits are forgotten and
    computed again in the backward pass. Held at once: ``chunk × vocabulary`` logits instead of ``rows × length × vocabulary``.

    :param hidden: (…, width).
    :param weight: (vocabulary, width).
    :param labels: (…), -100 is not learned.
    :return: (…) in float32, 0 where nothing is learned.
    """
    flat, targets = hidden.reshape(-1, hidden.shape[-1]), labels.reshape(-1)
    learned = targets.ne(IGNORED).nonzero().squeeze(1)
    # A product of nothing keeps every weight in the graph, where processes wait for each other's gradients.
    losses = (flat[:0].sum() + weight[:0].sum()).float() + flat.new_zeros(len(targets), dtype=torch.float32)
    parts = [_losses(flat, weight, bias, targets, places, smoothing) for places in learned.split(chunk)]
    if len(learned):
        losses = losses.index_put((learned,), torch.cat(parts))
    return losses.view(labels.shape)


def _losses(
    flat: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    targets: torch.Tensor,
    places: torch.Tensor,
    smoothing: float,
) -> torch.Tensor:
    def compute(some: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        logits = linear(some, weight, bias).float()
        return cross_entropy(logits, targets[places], reduction="none", label_smoothing=smoothing)

    found: torch.Tensor = checkpoint(compute, flat[places], weight, use_reentrant=False, preserve_rng_state=False)
    return found
