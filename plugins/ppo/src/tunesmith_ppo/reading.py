"""How likely a model finds every token of answers, and what it thinks they are worth."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch


@dataclass(frozen=True)
class Said:
    """A number to each token of the answers, row after row, in float32.

    :param logprobs: log-probability of the token, at the temperature at which answers are drawn.
    :param entropy: of the distribution it was drawn from; without gradient.
    :param values: what is expected before it, where the model has a value head.
    """

    logprobs: torch.Tensor
    entropy: torch.Tensor
    values: torch.Tensor | None


def read(model: Any, batch: Mapping[str, torch.Tensor], temperature: float) -> Said:
    """Run ``model`` over a batch of :func:`tunesmith_ppo.experience.batch_of`."""
    found = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], use_cache=False)
    answered = batch["answered"][:, 1:].to(found["logits"].device)
    chosen = batch["input_ids"][:, 1:].to(answered.device)[answered]
    likely = torch.log_softmax(found["logits"][:, :-1][answered].float() / temperature, dim=-1)
    with torch.no_grad():
        entropy = -(likely.exp() * likely).sum(-1)
    logprobs = likely.gather(1, chosen[:, None]).squeeze(1)
    values = found["value"][:, :-1][answered].float() if "value" in found else None
    return Said(logprobs, entropy, values)
