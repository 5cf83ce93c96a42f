"""What a model answers to a few prompts, and how far two such answers are apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

#: Plain things to say, in two languages and with numbers. What they mean does not matter; every model can answer them.
QUESTIONS = ("Who are you?", "What is 17 plus 25?", "请用一句话介绍你自己。")
#: Tokens that are generated greedily after each prompt.
LENGTH = 8


@dataclass(frozen=True)
class Answers:
    """``logits``: one tensor (prompt length, vocabulary) in float32 for each prompt; ``tokens``: what follows greedily."""

    logits: tuple[torch.Tensor, ...]
    tokens: tuple[tuple[int, ...], ...]

    @property
    def spread(self) -> float:
        """Standard deviation of the logits: what differences are measured against."""
        return float(torch.cat([one.flatten() for one in self.logits]).std())

    @property
    def finite(self) -> bool:
        """No logit is infinite or not a number."""
        return all(bool(torch.isfinite(one).all()) for one in self.logits)


@dataclass(frozen=True)
class Difference:
    """How far two answers are apart.

    :param typical: root mean square of the difference of all logits, as a share of their spread.
    :param largest: the largest difference of one logit, as a share of the spread.
    :param equal_tokens: share of greedy tokens that are the same.
    """

    typical: float
    largest: float
    equal_tokens: float


def answers(model: Any, prompts: Sequence[Sequence[int]]) -> Answers:
    """Ask ``model`` each of the prompts, given as token ids."""
    asked = [_answer(model, prompt) for prompt in prompts]
    return Answers(tuple(logits for logits, _ in asked), tuple(tokens for _, tokens in asked))


@torch.inference_mode()
def _answer(model: Any, prompt: Sequence[int]) -> tuple[torch.Tensor, tuple[int, ...]]:
    ids = torch.tensor([list(prompt)], device=next(model.parameters()).device)
    step = model(input_ids=ids, use_cache=True)
    logits, tokens = step.logits[0].float().cpu(), [int(step.logits[0, -1].argmax())]
    while len(tokens) < LENGTH:
        new = torch.tensor([tokens[-1:]], device=ids.device)
        step = model(input_ids=new, past_key_values=step.past_key_values, use_cache=True)
        tokens.append(int(step.logits[0, -1].argmax()))
    return logits, tuple(tokens)


def difference(one: Answers, other: Answers) -> Difference:
    """How far ``other`` is from ``one``, whose spread is the measure."""
    apart = torch.cat([(a - b).flatten() for a, b in zip(one.logits, other.logits, strict=True)])
    same = [a == b for ours, theirs in zip(one.tokens, other.tokens, strict=True) for a, b in zip(ours, theirs, strict=True)]
    spread = one.spread or 1.0
    return Difference(float(apart.square().mean().sqrt()) / spread, float(apart.abs().max()) / spread, sum(same) / len(same))
