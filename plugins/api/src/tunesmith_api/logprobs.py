"""Log-probabilities in the two shapes that OpenAI has for them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tunesmith.contracts import TokenLogprob

from tunesmith_api.vocabulary import Vocabulary

#: What JSON has instead of minus infinity.
LEAST = -9999.0


def chat_logprobs(found: Iterable[TokenLogprob], vocabulary: Vocabulary) -> dict[str, Any]:
    """Those of a chat."""
    tokens = []
    for one in found:
        top = [_token(id_, logprob, vocabulary) for id_, logprob in one.top]
        tokens.append({**_token(one.id, one.logprob, vocabulary), "top_logprobs": top})
    return {"content": tokens, "refusal": None}


def _token(id_: int, logprob: float, vocabulary: Vocabulary) -> dict[str, Any]:
    """A token; ``bytes`` is null where it is a part of a letter."""
    text = vocabulary.text(id_)
    return {"token": text, "logprob": max(logprob, LEAST), "bytes": None if "\ufffd" in text else list(text.encode())}


def completion_logprobs(found: Iterable[TokenLogprob], vocabulary: Vocabulary, offset: int = 0) -> dict[str, Any]:
    """Those of a completion. ``offset``: how many characters of the answer came before."""
    made: dict[str, Any] = {"tokens": [], "token_logprobs": [], "top_logprobs": [], "text_offset": []}
    for one in found:
        text = vocabulary.text(one.id)
        made["tokens"].append(text)
        made["token_logprobs"].append(max(one.logprob, LEAST))
        made["top_logprobs"].append({vocabulary.text(id_): max(logprob, LEAST) for id_, logprob in one.top})
        made["text_offset"].append(offset)
        offset += len(text)
    return made
