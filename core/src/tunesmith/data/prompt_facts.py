"""A prompt as the facts of a prepared row: rewards get to read the conversation and the row's other columns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tunesmith.data.conversation import Prompt
from tunesmith.data.openai_messages import conversation_from_openai
from tunesmith.templates.auto import message_of


def facts_of_prompt(prompt: Prompt) -> Mapping[str, Any]:
    """Plain values that JSON can hold: ``messages`` and ``tools`` as the chat completions API has them, and ``extras``."""
    turns = prompt.conversation.turns
    messages = [message_of(turn, number) for number, turn in enumerate(turns, 1)]
    return {"messages": messages, "tools": list(prompt.conversation.tools), "extras": dict(prompt.extras)}


def prompt_of_facts(facts: Mapping[str, Any]) -> Prompt:
    """Read what :func:`facts_of_prompt` made."""
    conversation = conversation_from_openai(facts.get("messages", ()), facts.get("tools"))
    return Prompt(conversation, facts.get("extras", {}))
