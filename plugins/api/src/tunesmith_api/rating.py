"""What a model says about texts without writing any: vectors and rewards."""

from __future__ import annotations

import base64
import struct
import uuid
from collections.abc import Sequence
from typing import Any

from tunesmith_api.completions import prompts_of
from tunesmith_api.errors import bad
from tunesmith_api.protocol import EmbeddingRequest, ScoreRequest
from tunesmith_api.service import Service


async def embeddings(service: Service, body: EmbeddingRequest) -> dict[str, Any]:
    """A vector for each text."""
    _only_the_model(service, body.model)
    rows = list(_rows(service, body.input))
    vectors = await service.desk.call(service.engine.embed, rows)
    shown = _base64 if body.encoding_format == "base64" else list
    data = [{"object": "embedding", "index": at, "embedding": shown(vector)} for at, vector in enumerate(vectors)]
    tokens = _counted(service, rows)
    return {
        "object": "list",
        "data": data,
        "model": body.model,
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }


def _rows(service: Service, given: Any) -> list[tuple[int, ...]]:
    texts = [given] if isinstance(given, str) else given
    if isinstance(texts[0], str):
        return [service.vocabulary.plain(text) for text in texts]
    return list(prompts_of(given, "input", service.vocabulary))


async def scores(service: Service, body: ScoreRequest) -> dict[str, Any]:
    """A reward for each text."""
    _only_the_model(service, body.model)
    rows = [service.vocabulary.scored(text)[: body.max_length] for text in body.messages]
    found = await service.desk.call(service.engine.score, rows)
    _counted(service, rows)
    return {
        "id": f"scoreval-{uuid.uuid4().hex}",
        "object": "score.evaluation",
        "model": body.model,
        "scores": found,
    }


def _only_the_model(service: Service, model: str) -> None:
    if service.adapter(model) is not None:
        raise bad(f"Only the model itself does this, not the adapter {model!r}.", "model")


def _counted(service: Service, rows: Sequence[Sequence[int]]) -> int:
    tokens = sum(map(len, rows))
    service.metrics.tokens.labels("prompt").inc(tokens)
    return tokens


def _base64(vector: Sequence[float]) -> str:
    """The numbers as 32-bit ones, little end first."""
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
