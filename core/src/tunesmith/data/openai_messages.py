"""OpenAI-style messages → a conversation; every mistake named by the message's number."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from tunesmith.data.conversation import Call, Conversation, Media, Part, Result, Text, Thought, Turn
from tunesmith.errors import nearest

_ROLES = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
    "tool": "tool",
    "function": "tool",
}
_THOUGHT_KEYS = ("reasoning_content", "reasoning", "thinking")
_MEDIA = ("image", "video", "audio")


class BadMessage(ValueError):
    """A message that cannot be read. The text names it by its number, counted from 0 as in the list."""


def conversation_from_openai(messages: Any, tools: Any = None) -> Conversation:
    """Read messages and tools as the chat completions API has them.

    Content may be text or a list of parts, arguments a JSON text or an object, reasoning a field of its own
    (``reasoning_content``, ``reasoning`` or ``thinking``); ``developer`` is ``system``; ``weight`` is the turn's.

    :raises BadMessage: names the message and the field.
    """
    if not isinstance(messages, Sequence) or isinstance(messages, str):
        raise BadMessage(f"messages is {_kind(messages)}, not a list")
    turns = tuple(turn_from_openai(message, at) for at, message in enumerate(messages))
    return Conversation(turns, tools_from_openai(tools))


def tools_from_openai(tools: Any) -> tuple[Mapping[str, Any], ...]:
    """Read a list of tools, each ``{"type": "function", "function": {…}}``; a bare function is put into that form.

    :raises BadMessage: names the tool.
    """
    if isinstance(tools, str):
        tools = _json(tools, "tools")
    if tools is None:
        return ()
    if not isinstance(tools, Sequence):
        raise BadMessage(f"tools is {_kind(tools)}, not a list")
    return tuple(_tool(tool, at) for at, tool in enumerate(tools))


def _tool(tool: Any, at: int) -> Mapping[str, Any]:
    if not isinstance(tool, Mapping):
        raise BadMessage(f"tools[{at}] is {_kind(tool)}, not an object")
    whole = tool if "function" in tool else {"type": "function", "function": tool}
    function = whole["function"]
    if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
        raise BadMessage(f"tools[{at}] has no function with a name")
    return whole


def turn_from_openai(message: Any, at: int) -> Turn:
    """Read one message, number ``at`` of its list.

    :raises BadMessage: names the message and the field.
    """
    if not isinstance(message, Mapping):
        raise BadMessage(f"messages[{at}] is {_kind(message)}, not an object")
    role = message.get("role")
    if not isinstance(role, str) or role not in _ROLES:
        raise BadMessage(f"messages[{at}].role is {role!r}. {nearest(role, _ROLES) or 'Roles are ' + ', '.join(_ROLES)}")
    weight = _weight(message.get("weight"), at)
    if _ROLES[role] == "tool":
        return Turn("tool", (_result(message, at),), weight)
    if message.get("tool_calls") and role != "assistant":
        raise BadMessage(f"messages[{at}] is a {role} message with tool_calls; only the assistant calls tools")
    return Turn(_ROLES[role], _parts(message, role, at), weight)  # type: ignore[arg-type]


def _parts(message: Mapping[str, Any], role: str, at: int) -> tuple[Part, ...]:
    parts: list[Part] = []
    if role == "assistant" and (thought := _thought(message, at)):
        parts.append(Thought(thought))
    calls = _calls(message, at) if role == "assistant" else ()
    content = _content(message.get("content"), at, needed=not calls)
    return (*parts, *content, *calls)


def _thought(message: Mapping[str, Any], at: int) -> str:
    for key in _THOUGHT_KEYS:
        value = message.get(key)
        if value is not None and not isinstance(value, str):
            raise BadMessage(f"messages[{at}].{key} is {_kind(value)}, not text")
        if value:
            return str(value)
    return ""


def _content(content: Any, at: int, *, needed: bool) -> tuple[Part, ...]:
    if isinstance(content, str):
        return (Text(content),) if content or needed else ()
    if content is None and not needed:
        return ()
    if isinstance(content, list):
        return tuple(_content_part(part, f"messages[{at}].content[{number}]") for number, part in enumerate(content))
    raise BadMessage(f"messages[{at}].content is {_kind(content)}, not text")


def _content_part(part: Any, place: str) -> Part:
    if isinstance(part, str):
        return Text(part)
    if not isinstance(part, Mapping):
        raise BadMessage(f"{place} is {_kind(part)}, not an object")
    kind = str(part.get("type", "text"))
    if kind in ("text", "input_text", "output_text") and isinstance(part.get("text"), str):
        return Text(part["text"])
    if kind in ("thinking", "reasoning") and isinstance(part.get(kind), str):
        return Thought(part[kind])
    for media in _MEDIA:
        if kind in (media, f"{media}_url"):
            return Media(media, _media_path(part, media, place))  # type: ignore[arg-type]
    raise BadMessage(f"{place} is of the type {kind!r}, which is not known, or lacks its value")


def _media_path(part: Mapping[str, Any], media: str, place: str) -> str:
    value = part.get(media, part.get(f"{media}_url", part.get("path", part.get("url"))))
    value = value.get("url") if isinstance(value, Mapping) else value
    if not isinstance(value, str):
        raise BadMessage(f"{place} names no {media} file")
    return value


def _calls(message: Mapping[str, Any], at: int) -> tuple[Call, ...]:
    calls = message.get("tool_calls")
    if calls is None and isinstance(message.get("function_call"), Mapping):
        calls = [{"function": message["function_call"]}]
    if calls is not None and not isinstance(calls, list):
        raise BadMessage(f"messages[{at}].tool_calls is {_kind(calls)}, not a list")
    return tuple(_call(call, f"messages[{at}].tool_calls[{number}]") for number, call in enumerate(calls or ()))


def _call(call: Any, place: str) -> Call:
    function = call.get("function", call) if isinstance(call, Mapping) else None
    if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
        raise BadMessage(f"{place} has no function with a name")
    arguments = function.get("arguments", {})
    if isinstance(arguments, str):
        arguments = _json(arguments, f"{place}.arguments") if arguments.strip() else {}
    if not isinstance(arguments, Mapping):
        raise BadMessage(f"{place}.arguments is {_kind(arguments)}, not an object")
    known = call.get("id")
    return Call(function["name"], arguments, known if isinstance(known, str) else None)


def _result(message: Mapping[str, Any], at: int) -> Result:
    content = message.get("content")
    if isinstance(content, list):
        parts = _content(content, at, needed=True)
        if not all(isinstance(part, Text) for part in parts):
            raise BadMessage(f"messages[{at}].content holds more than text, and a tool's answer is text")
        content = "".join(part.text for part in parts if isinstance(part, Text))
    elif isinstance(content, Mapping):
        content = json.dumps(content, ensure_ascii=False)
    if not isinstance(content, str):
        raise BadMessage(f"messages[{at}].content is {_kind(content)}, not text")
    name, known = message.get("name"), message.get("tool_call_id")
    return Result(content, name if isinstance(name, str) else None, known if isinstance(known, str) else None)


def _weight(value: Any, at: int) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
        raise BadMessage(f"messages[{at}].weight is {value!r}, not a number from 0")
    return float(value)


def _json(text: str, place: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise BadMessage(f"{place} is no JSON: {error}") from error


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "text", bool: "true or false", int: "a number", float: "a number"}
    return "missing" if value is None else names.get(type(value), type(value).__name__)
