"""Rows of the shape that ShareGPT made common: ``{"conversations": [{"from": "human", "value": "…"}, …]}``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from tunesmith.contracts import BadRow
from tunesmith.data.columns import MediaSupply, answer, calls, kind_of
from tunesmith.data.conversation import Result, Text, Turn
from tunesmith.errors import nearest

from tunesmith_sharegpt.turns import MessagesFormat

Read = Callable[[str, str, MediaSupply], Turn]


class ShareGptFormat(MessagesFormat):
    """A tool call is a message of its own, whose text is the call's JSON; the tool's answer is an observation."""

    def turns(self, messages: Sequence[Mapping[str, Any]], column: str, media: MediaSupply) -> list[Turn]:
        """Messages as turns, in whatever order they are."""
        readers = self._readers()
        return [self._turn(message, f"{column}[{number}]", media, readers) for number, message in enumerate(messages)]

    def _turn(self, message: Mapping[str, Any], place: str, media: MediaSupply, readers: Mapping[str, Read]) -> Turn:
        turn = self._reader(message, place, readers)(self._content(message, place), place, media)
        return replace(turn, weight=_weight(message, place))

    def _readers(self) -> dict[str, Read]:
        tags = self._tags
        return {
            tags["user_tag"]: _user,
            tags["assistant_tag"]: lambda text, place, media: answer(text, place),
            tags["observation_tag"]: lambda text, place, media: Turn("tool", (Result(text),)),
            tags["function_tag"]: lambda text, place, media: calls(text, place),
            tags["system_tag"]: lambda text, place, media: Turn("system", (Text(text),)),
        }

    def _reader(self, message: Mapping[str, Any], place: str, readers: Mapping[str, Read]) -> Read:
        tag = self._tags["role_tag"]
        if tag not in message:
            raise BadRow(f"there is no {tag} in this message; it has {', '.join(map(str, message)) or 'nothing'}", place)
        role = message[tag]
        if not isinstance(role, str) or role not in readers:
            hint = nearest(role, readers) or f"Known: {', '.join(readers)}."
            raise BadRow(f"unknown role {role!r} in {tag}. {hint}", place)
        return readers[role]

    def _content(self, message: Mapping[str, Any], place: str) -> str:
        tag = self._tags["content_tag"]
        text = message.get(tag)
        if isinstance(text, str):
            return text
        raise BadRow(f"{tag} is {kind_of(text)}, not text" if tag in message else f"there is no {tag}", place)


def _user(text: str, place: str, media: MediaSupply) -> Turn:
    if not text.strip():
        raise BadRow("the user says nothing", place)
    return Turn("user", media.parts(text, place))


def _weight(message: Mapping[str, Any], place: str) -> float | None:
    weight = message.get("weight")
    if weight is None:
        return None
    if isinstance(weight, bool) or not isinstance(weight, (int, float)) or weight < 0:
        raise BadRow(f"weight is {weight!r}, not a number from 0 up", place)
    return float(weight)
