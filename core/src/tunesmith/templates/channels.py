"""Replies that are messages of their own: thoughts in one channel, words in another, calls with a recipient."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from tunesmith.data.conversation import Call
from tunesmith.templates.model import Channels


def read_channels(text: str, channels: Channels) -> tuple[str, str, tuple[Call, ...]]:
    """Generated text → thought, words and calls. Text without a single message is words."""
    thoughts: list[str] = []
    words: list[str] = []
    calls: list[Call] = []
    for header, body in _messages(text, channels):
        call = _call(header, body, channels)
        if call is not None:
            calls.append(call)
        else:
            (thoughts if _channel(header, channels) in channels.thoughts else words).append(body)
    if not (thoughts or words or calls):
        return "", text, ()
    return "\n".join(thoughts), "\n".join(words), tuple(calls)


def _messages(text: str, channels: Channels) -> Iterator[tuple[str, str]]:
    """Header and body of each message; one that breaks off ends where the text does."""
    ends = re.compile("|".join(map(re.escape, channels.ends)))
    at = 0
    while (begin := text.find(channels.body, at)) >= 0:
        body = begin + len(channels.body)
        end = ends.search(text, body)
        yield text[at:begin], text[body : end.start() if end else len(text)]
        at = end.end() if end else len(text)


def _channel(header: str, channels: Channels) -> str:
    found = re.search(re.escape(channels.mark) + r"\s*(\w+)", header)
    return found[1] if found else ""


def _call(header: str, body: str, channels: Channels) -> Call | None:
    name = re.search(re.escape(channels.recipient) + r"([\w.-]+)", header)
    if name is None:
        return None
    try:
        arguments = json.loads(body)
    except ValueError:
        return None
    return Call(name[1], arguments) if isinstance(arguments, dict) else None
