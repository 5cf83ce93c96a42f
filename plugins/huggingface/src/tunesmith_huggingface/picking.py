"""Which token comes next: one request's scores, changed as it asked, and the one that is then the highest or drawn."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import torch
from transformers import LogitsProcessorList
from transformers.generation.logits_process import (
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopPLogitsWarper,
)
from tunesmith.contracts import Request, Sampling, TokenLogprob

if TYPE_CHECKING:
    from tunesmith_huggingface.schemas import Guide


class Picker:
    """Picks the tokens of one answer, one after the other.

    Penalties and biases come before the temperature, as OpenAI's page of the chat endpoint describes them; the rest is
    what transformers does, in its order. Each request draws from a random source of its own, so that a request with a seed
    answers the same whatever runs beside it, and the process's random state is left alone.
    """

    def __init__(self, request: Request, guide: Guide | None = None) -> None:
        """``guide`` holds the answer to a schema."""
        self.guide = guide
        self.sampling = request.sampling
        self.logprob: TokenLogprob | None = None
        """What is known about the token picked last, where the request asked for it."""
        self.ids = list(request.ids)
        """The prompt and what was picked so far."""
        self._counts: Counter[int] = Counter()
        self._changes = changes(request.sampling)
        self._warpers = warpers(request.sampling)
        self._plain = guide is None and _is_plain(request.sampling)
        self._source = _source(request.sampling.seed) if request.sampling.do_sample else None

    def pick(self, scores: torch.Tensor, best: int | None = None) -> int:
        """The next token. ``scores``: the model's, of shape (vocabulary,); ``best``: the highest of them, where it is known."""
        if self._plain and best is not None:
            self.ids.append(best)
            return best
        scores = scores.float()
        token = int(self._drawn(self._changed(scores)))
        self.ids.append(token)
        self._counts[token] += 1
        if self.guide is not None:
            self.guide.take(token)
        if self.sampling.logprobs is not None:
            self.logprob = logprob_of(token, scores, self.sampling.logprobs)
        return token

    def _changed(self, scores: torch.Tensor) -> torch.Tensor:
        wanted = self.sampling
        if self._changes:
            scores = self._changes(torch.tensor([self.ids], device=scores.device), scores.clone()[None])[0]
        if self._counts and (wanted.presence_penalty or wanted.frequency_penalty):
            said = torch.tensor(list(self._counts), device=scores.device)
            often = torch.tensor(list(self._counts.values()), dtype=scores.dtype, device=scores.device)
            scores = scores.index_add(0, said, -(wanted.presence_penalty + wanted.frequency_penalty * often))
        if wanted.logit_bias:
            ids, added = zip(*wanted.logit_bias, strict=True)
            bias = torch.tensor(added, dtype=scores.dtype, device=scores.device)
            scores = scores.index_add(0, torch.tensor(ids, device=scores.device), bias)
        return scores if self.guide is None else self.guide.allow(scores)

    def _drawn(self, scores: torch.Tensor) -> torch.Tensor:
        """The highest, or one drawn: with Gumbel noise added, the highest is a draw from their softmax (Maddison, Tarlow
        and Minka, "A* Sampling", 2014)."""
        if self._source is None:
            return scores.argmax()
        top_k = self.sampling.top_k
        kept = scores.topk(top_k).indices.sort().values if 0 < top_k < len(scores) else None
        left = scores if kept is None else scores[kept]
        left = self._warpers(None, left[None])[0]
        noise = torch.rand(len(left), generator=self._source, dtype=torch.float64).clamp(min=1e-300)
        best = (left - torch.log(-torch.log(noise)).to(left.device, left.dtype)).argmax()
        return best if kept is None else kept[best]


def changes(sampling: Sampling) -> LogitsProcessorList:
    """What changes scores by what was said before, prompt included."""
    chain = LogitsProcessorList()
    if sampling.repetition_penalty != 1.0:
        chain.append(RepetitionPenaltyLogitsProcessor(sampling.repetition_penalty))
    return chain


def warpers(sampling: Sampling) -> LogitsProcessorList:
    """What changes scores before a draw; ``top_k`` is seen to by the :class:`Picker`."""
    chain = LogitsProcessorList()
    if sampling.temperature != 1.0:
        chain.append(TemperatureLogitsWarper(sampling.temperature))
    if sampling.top_p < 1.0:
        chain.append(TopPLogitsWarper(sampling.top_p))
    if sampling.min_p > 0.0:
        chain.append(MinPLogitsWarper(sampling.min_p))
    return chain


def logprob_of(token: int, scores: torch.Tensor, alternatives: int) -> TokenLogprob:
    """The log-probability of ``token`` and of the ``alternatives`` most likely ones. ``scores``: (vocabulary,)."""
    found = scores.log_softmax(-1)
    best = found.topk(min(alternatives, len(found)))
    top = tuple(zip(best.indices.tolist(), best.values.tolist(), strict=True))
    return TokenLogprob(token, float(found[token]), top)


def _is_plain(wanted: Sampling) -> bool:
    """Whether the highest of the model's scores is the token, and nothing else is asked for."""
    changed = wanted.repetition_penalty != 1.0 or wanted.presence_penalty or wanted.frequency_penalty or wanted.logit_bias
    return not (wanted.do_sample or changed or wanted.logprobs is not None)


def _source(seed: int | None) -> torch.Generator:
    source = torch.Generator()
    if seed is None:
        source.seed()
    else:
        source.manual_seed(seed)
    return source
