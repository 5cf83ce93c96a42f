"""How tokens are picked: transformers' own processors for what changes scores, and a random source for each request."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList
from transformers.generation.logits_process import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper
from tunesmith.contracts import Sampling
from tunesmith.errors import TunesmithError


class Dice(LogitsProcessor):
    """Picks one token of each row at random, from that row's own random source.

    Adding Gumbel noise to the scores and taking the highest draws from their softmax (Maddison, Tarlow and Minka, "A*
    Sampling", 2014). So a request with a seed answers the same whatever else runs beside it, and the process's random
    state is left alone.
    """

    def __init__(self, sources: Sequence[torch.Generator]) -> None:
        self.sources = sources

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        drawn = [torch.rand(scores.shape[1], generator=source, dtype=torch.float64) for source in self.sources]
        noise = -torch.log(-torch.log(torch.stack(drawn).clamp(min=1e-300)))
        return scores + noise.to(scores.device, scores.dtype)


def check(sampling: Sampling) -> None:
    """Refuse what cannot be honoured.

    :raises TunesmithError: names the field and what it may be.
    """
    wrong = {
        "max_new_tokens": ("at least 1", sampling.max_new_tokens < 1),
        "temperature": ("above 0", sampling.do_sample and sampling.temperature <= 0),
        "top_p": ("above 0 and at most 1", sampling.do_sample and not 0 < sampling.top_p <= 1),
        "top_k": ("0 (all tokens) or more", sampling.top_k < 0),
        "num_beams": ("at least 1", sampling.num_beams < 1),
        "repetition_penalty": ("above 0", sampling.repetition_penalty <= 0),
        "length_penalty": ("1.0 without num_beams", sampling.num_beams == 1 and sampling.length_penalty != 1.0),
        "stop": ("strings that are not empty", "" in sampling.stop),
    }
    for name, (may_be, is_wrong) in wrong.items():
        if is_wrong:
            raise TunesmithError(f"{name} is {getattr(sampling, name)!r}.", f"Here it must be {may_be}.")
    if sampling.num_beams > 1 and sampling.do_sample:
        raise TunesmithError("num_beams above 1 does not go together with do_sample.", "Write do_sample: false.")


def configuration(sampling: Sampling, room: int, stop: Sequence[int], pad: int, use_cache: bool) -> GenerationConfig:
    """What to hand to ``generate`` for at most ``room`` tokens. :func:`processors` does the sampling, so this looks greedy.

    ``generate`` fills in what is left out (suppressed and forced tokens) from the model's ``generation_config.json``. How to
    sample is never left out: the request decides.
    """
    return GenerationConfig(
        max_new_tokens=room,
        do_sample=False,
        temperature=1.0,
        top_p=1.0,
        top_k=50,
        num_beams=sampling.num_beams,
        repetition_penalty=sampling.repetition_penalty,
        length_penalty=sampling.length_penalty,
        eos_token_id=list(stop) or None,
        pad_token_id=pad,
        use_cache=use_cache,
    )


def processors(samplings: Sequence[Sampling]) -> LogitsProcessorList:
    """What changes the scores of one batch, whose samplings differ in nothing but their seeds; empty when greedy."""
    first = samplings[0]
    chain = LogitsProcessorList()
    if not first.do_sample:
        return chain
    if first.temperature != 1.0:
        chain.append(TemperatureLogitsWarper(first.temperature))
    if first.top_k:
        chain.append(TopKLogitsWarper(first.top_k))
    if first.top_p < 1.0:
        chain.append(TopPLogitsWarper(first.top_p))
    chain.append(Dice([_source(sampling.seed) for sampling in samplings]))
    return chain


def _source(seed: int | None) -> torch.Generator:
    source = torch.Generator()
    if seed is None:
        source.seed()
    else:
        source.manual_seed(seed)
    return source
