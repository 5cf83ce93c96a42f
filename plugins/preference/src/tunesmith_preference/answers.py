"""How likely a model finds the answers of a batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import cross_entropy
from tunesmith.runtime.collate import IGNORED, SEEN


@dataclass(frozen=True)
class Answers:
    """Each of shape (rows,), in float32.

    :param logps: log-probability of each answer, the sum over its tokens.
    :param plain: the same where ``logps`` weighs some tokens less; otherwise the same tensor.
    :param lengths: tokens of each answer.
    :param logits: mean logit, over answers' tokens and the vocabulary; without gradient; ``None`` where nobody saw logits.
    """

    logps: torch.Tensor
    plain: torch.Tensor
    lengths: torch.Tensor
    logits: torch.Tensor | None

    @property
    def means(self) -> torch.Tensor:
        """Log-probability per token."""
        return self.plain / self.lengths.clamp(min=1)


def read_answers(
    model: Any,
    batch: Mapping[str, Any],
    *,
    ld_alpha: float | None = None,
    token_loss: Callable[..., Any] | None = None,
) -> Answers:
    """Run ``model`` over a batch.

    :param batch: ``input_ids``, ``attention_mask`` and ``labels`` (rows, length); labels of -100 are not the answer's.
    :param ld_alpha: the rows are two answers to each prompt, all better ones first: tokens beyond the length of the shorter one
        weigh so much (LD-DPO, Liu et al. 2024, arXiv:2409.06411).
    :param token_loss: an accelerator's way to the losses of tokens, for a model that it has prepared.
    """
    if token_loss is not None:
        return answers_of(-token_loss(model, inputs_of(batch), batch["labels"], 0.0)[0], batch, ld_alpha)
    logits = model(**inputs_of(batch))["logits"][:, :-1]
    targets = batch["labels"][:, 1:].to(logits.device)
    answered = targets != IGNORED
    said = logits[answered].float()  # prompts and padding are left out before anything is computed
    each = torch.zeros(targets.shape, dtype=torch.float32, device=logits.device)
    each = each.masked_scatter(answered, -cross_entropy(said, targets[answered], reduction="none"))
    with torch.no_grad():
        means = torch.zeros_like(each).masked_scatter(answered, said.mean(-1)).sum(-1) / answered.sum(-1).clamp(min=1)
    return answers_of(each, batch, ld_alpha, means)


def inputs_of(batch: Mapping[str, Any]) -> dict[str, Any]:
    """What a model is given of a batch."""
    words = {"input_ids": batch["input_ids"], "attention_mask": batch["attention_mask"], "use_cache": False}
    return words | batch.get(SEEN, {})


def answers_of(
    each: torch.Tensor, batch: Mapping[str, torch.Tensor], ld_alpha: float | None = None, logits: torch.Tensor | None = None
) -> Answers:
    """Sums over the tokens of answers, whose log-probabilities are ``each`` (rows, length - 1)."""
    answered = (batch["labels"][:, 1:] != IGNORED).to(each.device)
    lengths, plain = answered.sum(-1), each.sum(-1)
    logps = plain if ld_alpha is None else (each * _shared_weights(answered, lengths, ld_alpha)).sum(-1)
    return Answers(logps, plain, lengths, logits)


def _shared_weights(answered: torch.Tensor, lengths: torch.Tensor, alpha: float) -> torch.Tensor:
    """1 for the tokens that both answers are long enough for, ``alpha`` for the rest of the longer one."""
    shared = torch.minimum(*lengths.chunk(2)).repeat(2)
    return torch.where(answered.cumsum(-1) <= shared[:, None], 1.0, alpha)
