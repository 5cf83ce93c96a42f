"""How tokens are picked for one request: the run's generation keys, and over them what the request says."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from tunesmith.contracts import Sampling

from tunesmith_api.errors import ApiError, bad
from tunesmith_api.protocol import Generation
from tunesmith_api.vocabulary import Vocabulary

#: Fields that mean the same in a request and in :class:`~tunesmith.contracts.Sampling`.
SAME = ("temperature", "top_p", "top_k", "min_p", "do_sample", "repetition_penalty", "presence_penalty", "frequency_penalty")
#: Which field of a request an engine means that names one of its own.
MEANT = {"max_new_tokens": "max_tokens", "schema": "response_format"}
FIELDS = (*SAME, "logit_bias", "logprobs", "seed", "stop", *MEANT)


def sampling_for(request: Generation, run: Sampling, vocabulary: Vocabulary) -> Sampling:
    """The run's sampling with what ``request`` says over it.

    A temperature of 0 takes the likeliest tokens; any other draws them, unless ``do_sample`` says otherwise.

    :raises ApiError: names the field that cannot be.
    """
    given: dict[str, Any] = {name: getattr(request, name) for name in SAME if getattr(request, name) is not None}
    if request.temperature is not None:
        given.setdefault("do_sample", request.temperature > 0)
        if request.temperature == 0:
            del given["temperature"]
            if given["do_sample"]:
                raise bad("temperature: 0 takes the likeliest tokens, and do_sample: true draws them.", "do_sample")
    if request.max_tokens is not None:
        given["max_new_tokens"] = request.max_tokens
    if request.stop is not None:
        given["stop"] = (request.stop,) if isinstance(request.stop, str) else tuple(request.stop)
    if request.logit_bias:
        given["logit_bias"] = tuple(_biases(request.logit_bias, vocabulary))
    return replace(run, seed=request.seed, **given)


def _biases(given: dict[str, float], vocabulary: Vocabulary) -> Iterator[tuple[int, float]]:
    for word, bias in given.items():
        if not word.isascii() or not word.isdigit() or not vocabulary.has(int(word)):
            raise bad(f"logit_bias names {word!r}, which is no token of this model.", "logit_bias")
        yield int(word), float(bias)


def numbered(sampling: Sampling, at: int) -> Sampling:
    """The sampling of answer ``at`` of several to one request: a seed gives each answer its own."""
    if sampling.seed is None or at == 0:
        return sampling
    return replace(sampling, seed=(sampling.seed + at + 2**63) % 2**64 - 2**63)


def blame(error: ApiError, request: Generation) -> ApiError:
    """The same error with the field of the request that an engine's words name."""
    words = error.message.replace("(", " ").replace(":", " ").replace(",", " ").split()
    named = next((MEANT.get(word, word) for word in words if word in FIELDS), None)
    if named == "response_format" and getattr(request, "response_format", None) is None:
        named = "tool_choice"
    if named == "max_tokens" and getattr(request, "max_completion_tokens", None) is not None:
        named = "max_completion_tokens"
    if error.param is None and named is not None and getattr(request, named, None) is not None:
        return ApiError(error.status, error.message, named, error.code, error.retry_after)
    return error
