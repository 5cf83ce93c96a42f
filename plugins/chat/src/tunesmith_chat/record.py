"""Turns as OpenAI messages: what ``/save`` writes and ``--json`` prints, and what training reads again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tunesmith.data.conversation import Conversation
from tunesmith.data.openai_answers import message_of


def row(conversation: Conversation) -> Mapping[str, Any]:
    """A whole conversation as a row of training data."""
    tools = {"tools": list(conversation.tools)} if conversation.tools else {}
    return {"messages": [message_of(turn) for turn in conversation.turns], **tools}


def save(conversation: Conversation, file: Path) -> None:
    """Add the conversation to a JSON Lines file."""
    with file.open("a", encoding="utf-8") as lines:
        lines.write(json.dumps(row(conversation), ensure_ascii=False) + "\n")
