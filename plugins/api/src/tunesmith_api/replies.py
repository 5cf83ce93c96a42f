"""What clients get, as OpenAI's API has it: the models behind the page ``/openapi.json``."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel


class ErrorDetail(BaseModel):
    """What went wrong; ``param`` names the field of the request."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorBody(BaseModel):
    """Every error has this shape."""

    error: ErrorDetail


class Usage(BaseModel):
    """Tokens."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class FunctionCall(BaseModel):
    """``arguments`` is JSON text."""

    name: str
    arguments: str


class Call(BaseModel):
    """What the model asks for."""

    id: str
    type: Literal["function"]
    function: FunctionCall


class Answer(BaseModel):
    """``reasoning_content`` is there where the model thought first."""

    role: Literal["assistant"]
    content: str | None
    refusal: None = None
    reasoning_content: str | None = None
    tool_calls: list[Call] | None = None


class ChatChoice(BaseModel):
    """One answer."""

    index: int
    message: Answer
    logprobs: dict[str, Any] | None
    finish_reason: Literal["stop", "length", "tool_calls"]


class ChatCompletion(BaseModel):
    """The answers to a conversation."""

    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: list[ChatChoice]
    usage: Usage


class CompletionChoice(BaseModel):
    """One continuation."""

    index: int
    text: str
    logprobs: dict[str, Any] | None
    finish_reason: Literal["stop", "length"]


class Completion(BaseModel):
    """The continuations of texts."""

    id: str
    object: Literal["text_completion"]
    created: int
    model: str
    choices: list[CompletionChoice]
    usage: Usage


class Model(BaseModel):
    """Something that answers; ``parent`` is the model that an adapter lies on."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    parent: str | None


class Models(BaseModel):
    """All that answer."""

    object: Literal["list"]
    data: list[Model]


class Embedding(BaseModel):
    """A vector of length 1, as numbers or as base64 of 32-bit ones."""

    object: Literal["embedding"]
    index: int
    embedding: list[float] | str


class EmbeddingUsage(BaseModel):
    """Tokens."""

    prompt_tokens: int
    total_tokens: int


class Embeddings(BaseModel):
    """A vector for each text."""

    object: Literal["list"]
    data: list[Embedding]
    model: str
    usage: EmbeddingUsage


class Scores(BaseModel):
    """A reward for each text."""

    id: str
    object: Literal["score.evaluation"]
    model: str
    scores: list[float]


class Health(BaseModel):
    """That the server is there."""

    status: Literal["ok"]
