"""A request of Anthropic's → the conversation and the choice of tools that every request comes to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from tunesmith.data.conversation import Call, Conversation, Media, Part, Result, Text, Thought, Turn

from tunesmith_api.anthropic.protocol import (
    AssistantBlock,
    AssistantMessage,
    Base64Source,
    Counted,
    ImageBlock,
    NamedChoice,
    TextBlock,
    ThinkingBlock,
    ToolResultBlock,
    UserBlock,
)
from tunesmith_api.errors import bad
from tunesmith_api.media import MediaDesk
from tunesmith_api.tool_choice import Choice, decide

#: Anthropic's kinds of choice in OpenAI's words.
CHOICES = {"auto": "auto", "any": "required", "none": "none", "tool": "named"}


def choice_of(body: Counted) -> Choice:
    """What ``tools``, ``tool_choice`` and ``output_config.format`` come to.

    :raises ApiError: names the field that cannot be.
    """
    tools = [
        {"name": tool.name, "description": tool.description or "", "parameters": tool.input_schema} for tool in body.tools or ()
    ]
    wanted = body.tool_choice
    form = body.output_config.format if body.output_config else None
    choice = decide(
        [{"type": "function", "function": tool} for tool in tools],
        CHOICES[wanted.type] if wanted else "auto",
        wanted.name if isinstance(wanted, NamedChoice) else "",
        None if form is None else form.schema_,
    )
    return choice.only_one() if getattr(wanted, "disable_parallel_tool_use", None) else choice


def conversation_of(body: Counted, choice: Choice, media: MediaDesk) -> Conversation:
    """The conversation.

    :raises ApiError: names the message that cannot be.
    """
    turns = [*_system(body.system), *_turns(body, media)]
    thinking = {"enabled": True, "disabled": False}.get(body.thinking.type) if body.thinking else None
    effort = body.output_config.effort if body.output_config else None
    return Conversation(tuple(turns), choice.tools, thinking, effort)


def _system(given: str | list[TextBlock] | None) -> Iterator[Turn]:
    texts = [given] if isinstance(given, str) else [block.text for block in given or ()]
    if any(texts):
        yield Turn("system", tuple(Text(text) for text in texts if text))


def _turns(body: Counted, media: MediaDesk) -> Iterator[Turn]:
    called: dict[str, str] = {}
    for at, message in enumerate(body.messages):
        place = f"messages.{at}.content"
        if isinstance(message.content, str):
            yield Turn(message.role, (Text(message.content),))
        elif isinstance(message, AssistantMessage):
            called |= {block.id: block.name for block in message.content if block.type == "tool_use"}
            yield Turn("assistant", tuple(map(_said, message.content)))
        else:
            yield from _heard(message.content, place, called, media)
    if body.messages[-1].role == "assistant":
        raise bad("The last message is the assistant's; an answer that has begun is not gone on with here.", "messages")


def _said(block: AssistantBlock) -> Part:
    if isinstance(block, ThinkingBlock):
        return Thought(block.thinking)
    return Text(block.text) if isinstance(block, TextBlock) else Call(block.name, block.input, block.id)


def _heard(blocks: Sequence[UserBlock], place: str, called: dict[str, str], media: MediaDesk) -> Iterator[Turn]:
    """The results of tools, each a turn, and what stands between and after them."""
    parts: list[Part] = []
    for number, block in enumerate(blocks):
        if isinstance(block, ToolResultBlock):
            if block.tool_use_id not in called:
                raise bad("No call of an earlier message has this id.", f"{place}.{number}.tool_use_id")
            if parts:
                yield Turn("user", tuple(parts))
                parts = []
            yield Turn("tool", (Result(_words(block.content), called[block.tool_use_id], block.tool_use_id),))
        elif isinstance(block, ImageBlock):
            parts.append(Media("image", str(media.file(_url(block), "image", f"{place}.{number}"))))
        else:
            parts.append(Text(block.text))
    if parts:
        yield Turn("user", tuple(parts))


def _words(content: str | list[TextBlock] | None) -> str:
    return content if isinstance(content, str) else "".join(block.text for block in content or ())


def _url(block: ImageBlock) -> str:
    source: Any = block.source
    return f"data:{source.media_type};base64,{source.data}" if isinstance(source, Base64Source) else str(source.url)
