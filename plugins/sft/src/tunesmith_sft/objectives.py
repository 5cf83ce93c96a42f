"""Losses of the stage ``sft`` beside cross-entropy: what each token's loss is, before tokens are summed up."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch.nn.functional import cross_entropy
from tunesmith.runtime.collate import IGNORED
from tunesmith.runtime.precision import autocast
from tunesmith.runtime.session import Session

from tunesmith_sft.options import SftOptions

#: Logits (tokens, vocabulary) in float32 and their targets (tokens,) → losses (tokens,).
Each = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
#: As an accelerator's ``"token"`` loss: model, inputs, labels, smoothing → losses (rows, length - 1), outputs.
Objective = Callable[[Any, Mapping[str, Any], torch.Tensor, float], tuple[torch.Tensor, Any]]

#: EAFT looks at the likeliest tokens only; the entropy of as many that are all alike is about this.
LIKELIEST, MOST = 20, 3.0


def objective(options: SftOptions, session: Session) -> Objective | None:
    """The loss that the options ask for, or ``None`` for plain cross-entropy."""
    if options.use_asft_loss:
        return partial(_anchored, session=session, alpha=options.asft_alpha)
    if options.use_eaft_loss:
        return partial(_plain, each=partial(eaft, alpha=options.eaft_alpha))
    return partial(_plain, each=dft) if options.use_dft_loss else None


def dft(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Cross-entropy times the token's own probability (Wu et al. 2025, arXiv:2508.05629, Eq. 9)."""
    losses = cross_entropy(logits, targets, reduction="none")
    return losses * torch.exp(-losses.detach())


def eaft(logits: torch.Tensor, targets: torch.Tensor, *, alpha: float) -> torch.Tensor:
    """Cross-entropy times (H / 3)^alpha, H the entropy of the 20 likeliest tokens (Diao et al. 2026, arXiv:2601.02151)."""
    with torch.no_grad():
        likeliest = logits.topk(min(LIKELIEST, logits.shape[-1]), dim=-1).values.log_softmax(-1)
        entropy = -(likeliest.exp() * likeliest).sum(-1)
    return cross_entropy(logits, targets, reduction="none") * (entropy / MOST) ** alpha


def divergence(logits: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
    """How far the model is from the reference in each place, KL(reference ‖ model), (tokens,)."""
    wanted = reference.log_softmax(-1)
    return (wanted.exp() * (wanted - logits.log_softmax(-1))).sum(-1)


def _plain(
    model: Any, inputs: Mapping[str, Any], labels: torch.Tensor, smoothing: float, *, each: Each
) -> tuple[torch.Tensor, Any]:
    outputs = model(**inputs)
    learned, targets = _learned(labels, outputs["logits"])
    return _spread(each(_picked(outputs["logits"], learned), targets), learned), outputs


def _anchored(
    model: Any, inputs: Mapping[str, Any], labels: torch.Tensor, smoothing: float, *, session: Session, alpha: float
) -> tuple[torch.Tensor, Any]:
    """DFT, and alpha times the divergence from the reference (Zhu et al. 2025, arXiv:2509.23753)."""
    with torch.no_grad(), autocast(session.plan, session.backend), session.answering_as("reference") as reference:
        wanted = reference(**inputs)["logits"]
    outputs = model(**inputs)
    learned, targets = _learned(labels, outputs["logits"])
    logits = _picked(outputs["logits"], learned)
    losses = dft(logits, targets) + alpha * divergence(logits, _picked(wanted, learned))
    return _spread(losses, learned), outputs


def _learned(labels: torch.Tensor, logits: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Which places predict a token that is learned, (rows, length - 1), and those tokens."""
    targets = labels[:, 1:].to(logits.device)
    learned = targets != IGNORED
    return learned, targets[learned]


def _picked(logits: torch.Tensor, learned: torch.Tensor) -> torch.Tensor:
    return logits[:, :-1][learned].float()


def _spread(losses: torch.Tensor, learned: torch.Tensor) -> torch.Tensor:
    return torch.zeros(learned.shape, dtype=losses.dtype, device=losses.device).masked_scatter(learned, losses)
