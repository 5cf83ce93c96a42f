"""What clients may send, as OpenAI's API has it. Fields that are not here are refused by name.

``user``, ``metadata``, ``store``, ``service_tier``, ``safety_identifier`` and ``prompt_cache_key`` are OpenAI's own affairs:
they are taken and change nothing.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class Strict(BaseModel):
    """Takes no field that it does not know, and no value of another type."""

    model_config = ConfigDict(extra="forbid", strict=True)


Text = Annotated[str, Field(max_length=10_000_000)]
Seed = Annotated[int, Field(ge=-(2**63), lt=2**63)]


class TextPart(Strict):
    """Words."""

    type: Literal["text", "input_text", "output_text"]
    text: Text
    annotations: list[Any] | None = None


class RefusalPart(Strict):
    """What the assistant refused with; read as words."""

    type: Literal["refusal"]
    refusal: Text


class Url(Strict):
    """A data URL, an https URL or a file."""

    url: Annotated[str, Field(min_length=1)]
    detail: Literal["auto", "low", "high"] | None = None


class ImagePart(Strict):
    """An image."""

    type: Literal["image_url"]
    image_url: Url


class VideoPart(Strict):
    """A video."""

    type: Literal["video_url"]
    video_url: Url


class AudioPart(Strict):
    """A sound."""

    type: Literal["audio_url"]
    audio_url: Url


Part = Annotated[TextPart | RefusalPart | ImagePart | VideoPart | AudioPart, Field(discriminator="type")]


class CalledFunction(Strict):
    """A function and the JSON text of its arguments."""

    name: Annotated[str, Field(min_length=1)]
    arguments: str


class ToolCall(Strict):
    """One call of an earlier answer."""

    function: CalledFunction
    id: str | None = None
    type: Literal["function"] = "function"
    index: int | None = None


class Message(Strict):
    """One message. ``name`` (other than a tool's), ``refusal`` and ``annotations`` say nothing here."""

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: Text | list[Part] | None = None
    name: str | None = None
    tool_calls: list[ToolCall] | None = None
    tool_call_id: str | None = None
    function_call: CalledFunction | None = None
    reasoning_content: Text | None = None
    reasoning: Text | None = None
    refusal: str | None = None
    annotations: list[Any] | None = None
    audio: None = None


class Function(Strict):
    """A function that the model may call; ``strict`` is taken and changes nothing."""

    name: Annotated[str, Field(pattern=r"^[a-zA-Z0-9_.-]{1,64}$")]
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class Tool(Strict):
    """A tool; there are no others than functions here."""

    type: Literal["function"]
    function: Function


class NamedFunction(Strict):
    """A function by name."""

    name: Annotated[str, Field(min_length=1)]


class NamedTool(Strict):
    """The tool that must be called."""

    type: Literal["function"]
    function: NamedFunction


class JsonSchema(Strict):
    """A JSON schema that the answer must satisfy."""

    name: Annotated[str, Field(min_length=1)]
    schema_: Annotated[dict[str, Any], Field(alias="schema")]
    description: str | None = None
    strict: bool | None = None


class PlainFormat(Strict):
    """Any text, or any JSON object."""

    type: Literal["text", "json_object"]


class SchemaFormat(Strict):
    """JSON by a schema."""

    type: Literal["json_schema"]
    json_schema: JsonSchema


class StreamOptions(Strict):
    """``include_obfuscation`` is taken and changes nothing."""

    include_usage: bool | None = None
    include_obfuscation: bool | None = None


class Generation(Strict):
    """What chats and completions have in common. What is not given is as the run says (``temperature``, ``top_p``, …)."""

    model: str
    n: Annotated[int, Field(ge=1, le=128)] | None = None
    max_tokens: Annotated[int, Field(ge=1, lt=2**31)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    top_k: Annotated[int, Field(ge=0, lt=2**31)] | None = None
    min_p: Annotated[float, Field(ge=0, le=1)] | None = None
    do_sample: bool | None = None
    repetition_penalty: Annotated[float, Field(gt=0, le=100)] | None = None
    presence_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    frequency_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    logit_bias: dict[str, Annotated[float, Field(ge=-100, le=100)]] | None = None
    seed: Seed | None = None
    stop: Annotated[str, Field(min_length=1)] | list[Annotated[str, Field(min_length=1)]] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    user: str | None = None
    metadata: dict[str, str] | None = None
    store: bool | None = None
    service_tier: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None


class ChatRequest(Generation):
    """A conversation to go on with."""

    messages: Annotated[list[Message], Field(min_length=1)]
    max_completion_tokens: Annotated[int, Field(ge=1, lt=2**31)] | None = None
    tools: list[Tool] | None = None
    tool_choice: Literal["none", "auto", "required"] | NamedTool | None = None
    parallel_tool_calls: bool | None = None
    response_format: PlainFormat | SchemaFormat | None = None
    reasoning_effort: Literal["none", "minimal", "low", "medium", "high", "xhigh"] | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    modalities: list[Literal["text"]] | None = None


class CompletionRequest(Generation):
    """A text to go on with."""

    prompt: (
        Text
        | Annotated[list[Text], Field(min_length=1, max_length=128)]
        | Annotated[list[int], Field(min_length=1)]
        | Annotated[list[Annotated[list[int], Field(min_length=1)]], Field(min_length=1, max_length=128)]
    )
    logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    echo: Literal[False] | None = None


class EmbeddingRequest(Strict):
    """Texts to embed, or their token ids."""

    model: str
    input: (
        Annotated[str, Field(min_length=1, max_length=10_000_000)]
        | Annotated[list[Annotated[str, Field(min_length=1)]], Field(min_length=1, max_length=2048)]
        | Annotated[list[int], Field(min_length=1)]
        | Annotated[list[Annotated[list[int], Field(min_length=1)]], Field(min_length=1, max_length=2048)]
    )
    encoding_format: Literal["float", "base64"] | None = None
    user: str | None = None


class ScoreRequest(Strict):
    """Texts, as the template wrote them, to be rated by a reward model. ``max_length`` cuts each to so many tokens."""

    model: str
    messages: Annotated[list[Annotated[str, Field(min_length=1)]], Field(min_length=1, max_length=2048)]
    max_length: Annotated[int, Field(ge=1, lt=2**31)] | None = None
