"""Turns → OpenAI-style messages: the way back from :mod:`tunesmith.data.openai_messages`."""

from __future__ import annotations

import json
from typing import Any

from tunesmith.data.conversation import Call, Media, Result, Text, Thought, Turn


def message_of(turn: Turn) -> dict[str, Any]:
    """One turn as an OpenAI message, with ``reasoning_content`` for its thoughts, and images by the paths of their files."""
    made: dict[str, Any] = {"role": turn.role, "content": turn.text}
    if any(isinstance(part, Media) for part in turn.parts):
        made["content"] = [_content(part) for part in turn.parts if isinstance(part, Text | Media)]
    if results := [part.content for part in turn.parts if isinstance(part, Result)]:
        made["content"] = "".join(results)
    if thoughts := [part.text for part in turn.parts if isinstance(part, Thought)]:
        made["reasoning_content"] = "".join(thoughts)
    if calls := [call_of(part) for part in turn.parts if isinstance(part, Call)]:
        made["tool_calls"] = calls
    return made


def _content(part: Text | Media) -> dict[str, str]:
    if isinstance(part, Text):
        return {"type": "text", "text": part.text}
    return {"type": part.kind, part.kind: part.path}


def call_of(part: Call) -> dict[str, Any]:
    """One tool call as OpenAI writes it: the arguments are a JSON text."""
    function = {"name": part.name, "arguments": json.dumps(part.arguments, ensure_ascii=False)}
    return {"type": "function", "function": function, **({"id": part.id} if part.id else {})}
