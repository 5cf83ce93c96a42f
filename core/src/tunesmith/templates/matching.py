"""A ``call`` slot read backwards: generated text → name, arguments and id of one call."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any

from tunesmith.data.conversation import Call
from tunesmith.templates.model import Each, If, Node, Part, Slot, Trim, Value, Words

_DECODER = json.JSONDecoder()
_NAME = re.compile(r"[\w.:/-]+")


@dataclass
class _Found:
    """What was read so far."""

    parts: dict[str, Any] = field(default_factory=dict)
    arguments: dict[str, Any] = field(default_factory=dict)


def match_call(slot: Slot, text: str, at: int) -> tuple[int, Call] | None:
    """Read one call at ``at`` → where it ends, and the call; ``None`` where the text does not fit the slot."""
    found = _Found()
    end = _match(slot, text, _skip(text, at), found)
    if end is None or not isinstance(found.parts.get("name"), str):
        return None
    arguments = found.parts.get("arguments", found.arguments)
    if not isinstance(arguments, dict):
        return None
    return end, Call(found.parts["name"], arguments, found.parts.get("id"))


def _skip(text: str, at: int) -> int:
    while at < len(text) and text[at].isspace():
        at += 1
    return at


def _match(slot: Slot, text: str, at: int | None, found: _Found) -> int | None:
    for index, node in enumerate(slot):
        if at is None:
            return None
        at = _node(node, slot[index + 1 :], text, at, found)
    return at


def _node(node: Node, rest: Slot, text: str, at: int, found: _Found) -> int | None:
    if isinstance(node, Words):
        return _words(node.text, text, at)
    if isinstance(node, Value):
        return _value(node, rest, text, at, found)
    if isinstance(node, Each):
        return _each(node, text, at, found)
    if isinstance(node, Part):
        return None
    if isinstance(node, Trim):
        return _match(node.body, text, at, found)
    return _any_branch(node, rest, text, at, found)


def _words(words: str, text: str, at: int) -> int | None:
    """White space may differ: models are not exact about it, and nothing else stands there. Only a line must end where
    nothing but the line's end keeps two things apart."""
    if words.isspace() and "\n" in words and "\n" not in text[at : _skip(text, at)]:
        return None
    for word in words.split():
        at = _skip(text, at)
        if not text.startswith(word, at):
            return None
        at += len(word)
    return at


def _value(node: Value, rest: Slot, text: str, at: int, found: _Found) -> int | None:
    if node.path[-1] == "arguments":
        return _json(text, at, found.parts, "arguments")
    if node.path[0] == "call":
        name = _NAME.match(text, _skip(text, at))
        if name is None:
            return None
        found.parts[node.path[-1]] = name[0]
        return name.end()
    if "json" in node.filters:
        return _json(text, at, found.parts, node.path[0])
    end = _until(rest, text, at)
    if end is not None:
        found.parts[node.path[0]] = _read(text[at:end], node)
    return end


def _json(text: str, at: int, parts: dict[str, Any], name: str) -> int | None:
    try:
        parts[name], end = _DECODER.raw_decode(text, _skip(text, at))
    except ValueError:
        return None
    return end


def _read(text: str, node: Value) -> Any:
    """A value written bare: JSON where the slot may have written JSON and it is no plain text."""
    if "text_or_json" in node.filters:
        try:
            return json.loads(text)
        except ValueError:
            return text
    return text


def _until(rest: Slot, text: str, at: int) -> int | None:
    mark = next((node.text for node in rest if isinstance(node, Words) and node.text), "")
    if not mark:
        return len(text)
    end = text.find(mark, at)
    return end if end >= 0 else None


def _each(node: Each, text: str, at: int, found: _Found) -> int:
    while True:
        inner = _Found()
        end = _match(node.body, text, at, inner)
        if end is None or end == at or len(node.names) < 2 or node.names[0] not in inner.parts:
            return at
        key, value = (inner.parts.get(name) for name in node.names)
        found.arguments[str(key)] = value
        at = end


def _any_branch(node: If, rest: Slot, text: str, at: int, found: _Found) -> int | None:
    for branch in node.branches:
        end = _match((*branch.body, *rest), text, at, found)
        if end is not None:
            return _match(branch.body, text, at, found) if branch.body else at
    return at
