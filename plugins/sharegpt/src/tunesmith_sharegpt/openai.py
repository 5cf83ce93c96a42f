"""Rows of the shape of the OpenAI API: ``{"messages": [{"role": "user", "content": "…"}, …], "tools": […]}``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from tunesmith.contracts import BadRow
from tunesmith.data.columns import MediaSupply, calls, split_thought
from tunesmith.data.conversation import Part, Text, Thought, Turn
from tunesmith.data.openai_messages import BadMessage, turn_from_openai

from tunesmith_sharegpt.turns import MessagesFormat

#: Our tag → the role that the API has for it.
ROLES = {"user_tag": "user", "assistant_tag": "assistant", "observation_tag": "tool", "system_tag": "system"}


class OpenAiFormat(MessagesFormat):
    """Tool calls in ``tool_calls``, thoughts in ``reasoning_content`` or ``<think>`` tags, several tool messages in a row."""

    def turns(self, messages: Sequence[Mapping[str, Any]], column: str, media: MediaSupply) -> list[Turn]:
        """Messages as turns, in whatever order they are."""
        roles = {self._tags[tag]: role for tag, role in ROLES.items()}
        return [self._turn(message, f"{column}[{number}]", roles, media) for number, message in enumerate(messages)]

    def _turn(self, message: Mapping[str, Any], place: str, roles: Mapping[str, str], media: MediaSupply) -> Turn:
        said = message.get(self._tags["role_tag"])
        content = message.get(self._tags["content_tag"])
        if said == self._tags["function_tag"] and isinstance(content, str):
            return calls(content, place)
        plain = {**message, "role": roles.get(str(said), said), "content": content}
        try:
            turn = turn_from_openai(plain, 0)
        except BadMessage as error:
            raise BadRow(str(error).replace("messages[0].", "", 1).replace("messages[0]", "this message", 1), place) from error
        _check(turn, place)
        return replace(turn, parts=tuple(part for old in turn.parts for part in _again(turn, old, place, media)))


def _check(turn: Turn, place: str) -> None:
    """The words of users and the assistant must be there; a system prompt or a tool's answer may be empty."""
    if turn.role in ("user", "assistant") and not any(_says(part) for part in turn.parts):
        raise BadRow("there is no answer" if turn.role == "assistant" else "the user says nothing", place)


def _says(part: Part) -> bool:
    return not isinstance(part, (Text, Thought)) or bool(part.text.strip())


def _again(turn: Turn, part: Part, place: str, media: MediaSupply) -> Iterator[Part]:
    """A part as it is, or what a text holds besides words: a thought of the assistant, the user's media."""
    if isinstance(part, Text) and turn.role == "assistant" and part is turn.parts[0]:
        yield from split_thought(part.text)
    elif isinstance(part, Text) and turn.role == "user":
        yield from media.parts(part.text, place)
    else:
        yield part
