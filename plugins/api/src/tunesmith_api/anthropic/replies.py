"""What clients get, as Anthropic's API has it: the models behind the page ``/openapi.json``."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel


class ErrorDetail(BaseModel):
    """What went wrong; the message begins with the field where one is at fault."""

    type: str
    message: str


class ErrorBody(BaseModel):
    """Every error of these endpoints has this shape."""

    type: Literal["error"]
    error: ErrorDetail


class Block(BaseModel):
    """A thought, words or a call."""

    type: Literal["thinking", "text", "tool_use"]
    thinking: str | None = None
    signature: str | None = None
    text: str | None = None
    id: str | None = None
    name: str | None = None
    input: dict[str, Any] | None = None


class Usage(BaseModel):
    """Tokens; none of them come from a cache."""

    input_tokens: int
    output_tokens: int
    cache_creation_input_tokens: int
    cache_read_input_tokens: int


class Reply(BaseModel):
    """The next turn of a conversation."""

    id: str
    type: Literal["message"]
    role: Literal["assistant"]
    model: str
    content: list[Block]
    stop_reason: Literal["end_turn", "max_tokens", "stop_sequence", "tool_use"]
    stop_sequence: str | None
    usage: Usage


class TokenCount(BaseModel):
    """How many tokens a request would have."""

    input_tokens: int
