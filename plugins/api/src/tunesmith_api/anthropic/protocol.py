"""What clients may send, as Anthropic's API has it. Fields that are not here are refused by name.

``metadata``, ``service_tier``, ``cache_control``, ``citations``, ``strict``, a thought's ``signature``, a result's ``is_error``
and ``budget_tokens`` (thought and answer share ``max_tokens``) are taken and change nothing.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from tunesmith_api.protocol import Strict, Text

Word = Annotated[str, Field(min_length=1)]


class CacheControl(Strict):
    """A wish to Anthropic's own cache."""

    type: Literal["ephemeral"]
    ttl: Literal["5m", "1h"] | None = None


class Cached(Strict):
    """A part of a request that may be marked for that cache."""

    cache_control: CacheControl | None = None


class TextBlock(Cached):
    """Words."""

    type: Literal["text"]
    text: Text
    citations: list[Any] | None = None


class Base64Source(Strict):
    """An image in the request itself."""

    type: Literal["base64"]
    media_type: Literal["image/jpeg", "image/png", "image/gif", "image/webp"]
    data: Word


class UrlSource(Strict):
    """An image elsewhere."""

    type: Literal["url"]
    url: Word


class ImageBlock(Cached):
    """An image."""

    type: Literal["image"]
    source: Annotated[Base64Source | UrlSource, Field(discriminator="type")]


class ThinkingBlock(Strict):
    """What the model thought earlier."""

    type: Literal["thinking"]
    thinking: Text
    signature: str = ""


class ToolUseBlock(Cached):
    """A call of an earlier answer."""

    type: Literal["tool_use"]
    id: Word
    name: Word
    input: dict[str, Any]
    caller: None = None
    toolset_name: None = None


class ToolResultBlock(Cached):
    """What a tool answered."""

    type: Literal["tool_result"]
    tool_use_id: Word
    content: Text | list[TextBlock] | None = None
    is_error: bool | None = None


UserBlock = Annotated[TextBlock | ImageBlock | ToolResultBlock, Field(discriminator="type")]
AssistantBlock = Annotated[TextBlock | ThinkingBlock | ToolUseBlock, Field(discriminator="type")]


class UserMessage(Strict):
    """What the user says, and what tools answered."""

    role: Literal["user"]
    content: Text | Annotated[list[UserBlock], Field(min_length=1)]


class AssistantMessage(Strict):
    """What the model said earlier."""

    role: Literal["assistant"]
    content: Text | Annotated[list[AssistantBlock], Field(min_length=1)]


Message = Annotated[UserMessage | AssistantMessage, Field(discriminator="role")]


class Tool(Cached):
    """A tool that the client runs; there are no others here."""

    name: Annotated[str, Field(pattern=r"^[a-zA-Z0-9_.-]{1,128}$")]
    input_schema: dict[str, Any]
    description: str | None = None
    type: Literal["custom"] | None = None
    strict: bool | None = None


class AutoChoice(Strict):
    """The model decides, or must call some tool."""

    type: Literal["auto", "any"]
    disable_parallel_tool_use: bool | None = None


class NoChoice(Strict):
    """No tool may be called."""

    type: Literal["none"]


class NamedChoice(Strict):
    """This tool must be called."""

    type: Literal["tool"]
    name: Word
    disable_parallel_tool_use: bool | None = None


class ThinkingOn(Strict):
    """Think first."""

    type: Literal["enabled"]
    budget_tokens: Annotated[int, Field(ge=1024, lt=2**31)]


class ThinkingOwn(Strict):
    """As the run says (``adaptive``), or not at all."""

    type: Literal["adaptive", "disabled"]


class JsonFormat(Strict):
    """JSON by a schema."""

    type: Literal["json_schema"]
    schema_: Annotated[dict[str, Any], Field(alias="schema")]


class OutputConfig(Strict):
    """How much to think, and the form of the answer."""

    effort: Literal["low", "medium", "high", "xhigh", "max"] | None = None
    format: JsonFormat | None = None


class Metadata(Strict):
    """Whom Anthropic would count the request for."""

    user_id: str | None = None


class Counted(Cached):
    """What decides on the tokens of a request."""

    model: str
    messages: Annotated[list[Message], Field(min_length=1)]
    system: Text | list[TextBlock] | None = None
    tools: list[Tool] | None = None
    tool_choice: Annotated[AutoChoice | NoChoice | NamedChoice, Field(discriminator="type")] | None = None
    thinking: Annotated[ThinkingOn | ThinkingOwn, Field(discriminator="type")] | None = None
    output_config: OutputConfig | None = None


class MessagesRequest(Counted):
    """A conversation to go on with."""

    max_tokens: Annotated[int, Field(ge=1, lt=2**31)]
    stop_sequences: list[Word] | None = None
    stream: bool | None = None
    temperature: Annotated[float, Field(ge=0, le=1)] | None = None
    top_k: Annotated[int, Field(ge=0, lt=2**31)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    metadata: Metadata | None = None
    service_tier: Literal["auto", "standard_only"] | None = None
