"""What a request may ask for, and what a beam search is told."""

from __future__ import annotations

from collections.abc import Sequence

from transformers import GenerationConfig
from tunesmith.contracts import Sampling
from tunesmith.errors import TunesmithError

NOT_WITH_BEAMS = ("presence_penalty", "frequency_penalty", "logit_bias", "logprobs", "schema")


def check(sampling: Sampling, vocabulary: int) -> None:
    """Refuse what cannot be honoured.

    :param vocabulary: how many tokens the model has scores for.
    :raises TunesmithError: names the field and what it may be.
    """
    drawn = sampling.do_sample
    wrong = {
        "max_new_tokens": ("at least 1", sampling.max_new_tokens < 1),
        "temperature": ("above 0", drawn and sampling.temperature <= 0),
        "top_p": ("above 0 and at most 1", drawn and not 0 < sampling.top_p <= 1),
        "top_k": ("0 (all tokens) or more", sampling.top_k < 0),
        "min_p": ("0 (all tokens) to 1", drawn and not 0 <= sampling.min_p <= 1),
        "num_beams": ("at least 1", sampling.num_beams < 1),
        "repetition_penalty": ("above 0", sampling.repetition_penalty <= 0),
        "presence_penalty": ("from -2 to 2", not -2 <= sampling.presence_penalty <= 2),
        "frequency_penalty": ("from -2 to 2", not -2 <= sampling.frequency_penalty <= 2),
        "logit_bias": (
            f"pairs of a token id below {vocabulary} and a finite number",
            not all(0 <= id_ < vocabulary and abs(bias) < float("inf") for id_, bias in sampling.logit_bias),
        ),
        "logprobs": ("None, or 0 and more", sampling.logprobs is not None and sampling.logprobs < 0),
        "length_penalty": ("1.0 without num_beams", sampling.num_beams == 1 and sampling.length_penalty != 1.0),
        "stop": ("strings that are not empty", "" in sampling.stop),
    }
    for name, (may_be, is_wrong) in wrong.items():
        if is_wrong:
            raise TunesmithError(f"{name} is {getattr(sampling, name)!r}.", f"Here it must be {may_be}.")
    if sampling.num_beams > 1:
        _check_beams(sampling)


def _check_beams(sampling: Sampling) -> None:
    if sampling.do_sample:
        raise TunesmithError("num_beams above 1 does not go together with do_sample.", "Write do_sample: false.")
    plain = Sampling()
    for name in NOT_WITH_BEAMS:
        if getattr(sampling, name) != getattr(plain, name):
            raise TunesmithError(f"{name} does not go together with num_beams above 1.", "Leave one of them out.")


def configuration(sampling: Sampling, room: int, stop: Sequence[int], pad: int, use_cache: bool) -> GenerationConfig:
    """What to hand to ``generate`` for at most ``room`` tokens of a beam search.

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
