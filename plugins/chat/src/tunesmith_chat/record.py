"""Turns as OpenAI messages: what ``/save`` writes and ``--json`` prints, and what training reads again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tunesmith.data.conversation import Call, Conversation, Result, Thought, Turn


def message(turn: Turn) -> dict[str, Any]:
    """One turn as an OpenAI message, with ``reasoning_content`` for its thoughts."""
    made: dict[str, Any] = {"role": turn.role, "content": turn.text}
    if results := [part.content for part in turn.parts if isinstance(part, Result)]:
        made["content"] = "".join(results)
    if thoughts := [part.text for part in turn.parts if isinstance(part, Thought)]:
        made["reasoning_content"] = "".join(thoughts)
    if calls := [call(part) for part in turn.parts if isinstance(part, Call)]:
        made["tool_calls"] = calls
    return made


def call(part: Call) -> dict[str, Any]:
    """One tool call as OpenAI writes it: the arguments are a JSON text."""
    function = {"name": part.name, "arguments": json.dumps(part.arguments, ensure_ascii=False)}
    return {"type": "function", "function": function, **({"id": part.id} if part.id else {})}


def row(conversation: Conversation) -> Mapping[str, Any]:
    """A whole conversation as a row of training data."""
    tools = {"tools": list(conversation.tools)} if conversation.tools else {}
    return {"messages": [message(turn) for turn in conversation.turns], **tools}


def save(conversation: Conversation, file: Path) -> None:
    """Add the conversation to a JSON Lines file."""
    with file.open("a", encoding="utf-8") as lines:
        lines.write(json.dumps(row(conversation), ensure_ascii=False) + "\n")
