"""A ``call`` slot read backwards: generated text → name, arguments and id of one call.

Every kind of node yields each way in which it can have written the text at a place, the likeliest first; what comes after it
decides. So a value may hold what ends a value, as long as the rest of the call fits.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from tunesmith.data.conversation import Call
from tunesmith.templates.literals import literal, literal_end
from tunesmith.templates.model import Each, If, Node, Part, Slot, Trim, Value, Words

_DECODER = json.JSONDecoder()
_NAME = re.compile(r"[\w.:/-]+")
_NO_KEY = re.compile(r"""['"\n<>{}\[\]()]""")
#: What stands only between the items of a loop: it tells whether an item was the last.
_SEPARATES = "not loop_last"
#: Text that fits in very many ways, and in the end not at all, is given up after so many looks.
_PATIENCE = 50_000

Found: TypeAlias = Mapping[str, Any]
Ways: TypeAlias = Iterator[tuple[int, Found]]


def match_call(
    slot: Slot, text: str, at: int, parts: Mapping[str, Slot] | None = None, then: tuple[str, ...] = ()
) -> tuple[int, Call] | None:
    """Read one call at ``at`` → where it ends, and the call; ``None`` where the text does not fit the slot.

    Among the arguments may be :class:`Bare` values, for :func:`settled`.

    :param parts: the named pieces that the slot may write.
    :param then: what should follow, if the text does not end. A call that something else follows is taken where no way to
        read it is better.
    """
    first: tuple[int, Call] | None = None
    for end, found in _Matcher(text, parts or {}).slot(slot, _skip(text, at), {}):
        arguments, after = found.get("arguments", {}), _skip(text, end)
        if not isinstance(found.get("name"), str) or not isinstance(arguments, dict):
            continue
        first = first or (end, Call(found["name"], arguments, found.get("id")))
        if not then or after == len(text) or text.startswith(then, after):
            return end, Call(found["name"], arguments, found.get("id"))
    return first


def _skip(text: str, at: int) -> int:
    while at < len(text) and text[at].isspace():
        at += 1
    return at


class _Matcher:
    """One text being read. What was found is kept by the last word of its path."""

    def __init__(self, text: str, parts: Mapping[str, Slot]) -> None:
        self.text = text
        self.parts = parts
        self.patience = _PATIENCE

    def slot(self, slot: Slot, at: int, found: Found) -> Ways:
        """Every way to read a slot at a place, with where it ends."""
        if not slot:
            yield at, found
            return
        self.patience -= 1
        for end, more in self._node(slot[0], slot[1:], at, found) if self.patience > 0 else ():
            yield from self.slot(slot[1:], end, more)

    def _node(self, node: Node, rest: Slot, at: int, found: Found) -> Ways:
        if isinstance(node, Words):
            end = self._words(node.text, at)
            return iter(() if end is None else ((end, found),))
        if isinstance(node, Value):
            return self._value(node, rest, at, found)
        if isinstance(node, Each):
            return self._each(node, at, found)
        if isinstance(node, Part):
            return self._part(node, at, found)
        return self.slot(node.body, at, found) if isinstance(node, Trim) else self._branches(node, at, found)

    def _words(self, words: str, at: int) -> int | None:
        """White space may differ: models are not exact about it, and nothing else stands there. Only a line must end where
        nothing but the line's end keeps two things apart."""
        if words.isspace() and "\n" in words and "\n" not in self.text[at : _skip(self.text, at)]:
            return None
        for word in words.split():
            at = _skip(self.text, at)
            if not self.text.startswith(word, at):
                return None
            at += len(word)
        tail = words[len(words.rstrip()) :]
        return at + len(tail) * self.text.startswith(tail, at)

    def _part(self, node: Part, at: int, found: Found) -> Ways:
        for end, inner in self.slot(self.parts[node.name], at, {}):
            if "it" in inner:
                yield end, {**found, node.path[-1]: inner["it"]}

    def _branches(self, node: If, at: int, found: Found) -> Ways:
        separates = node.branches[0].condition == _SEPARATES
        for branch in node.branches:
            known = {**found, "loop_last": branch.condition != _SEPARATES} if separates else found
            yield from self.slot(branch.body, at, known)
        if node.branches[-1].condition is not None:
            yield at, {**found, "loop_last": True} if separates else found

    # -- values ------------------------------------------------------------------------------------------------------

    def _value(self, node: Value, rest: Slot, at: int, found: Found) -> Ways:
        if node.path[-1] == "arguments" or "json" in node.filters or "compact" in node.filters:
            ends = self._json(at)
        elif node.path[0] == "call":
            name = _NAME.match(self.text, _skip(self.text, at))
            ends = iter([(name.end(), name[0])] if name else [])
        else:
            ends = self._bare(node, rest, at)
        for end, value in ends:
            yield end, {**found, node.path[-1]: value}

    def _json(self, at: int) -> Iterator[tuple[int, Any]]:
        try:
            value, end = _DECODER.raw_decode(self.text, _skip(self.text, at))
        except ValueError:
            return
        yield end, value

    def _bare(self, node: Value, rest: Slot, at: int) -> Iterator[tuple[int, Any]]:
        """A value up to what follows it; one that nothing follows, or that was written as Python's, by its own form."""
        mark = next((node.text for node in rest if isinstance(node, Words) and node.text), "")
        if not mark or "python" in node.filters:
            end = literal_end(self.text, at)
            if end is not None:
                yield end, literal(self.text[at:end])
            return
        end = self.text.find(mark, at)
        while end >= 0:
            yield end, _read(self.text[at:end], node)
            end = self.text.find(mark, end + 1)

    # -- loops -------------------------------------------------------------------------------------------------------

    def _each(self, node: Each, at: int, found: Found) -> Ways:
        """As many items as there are; then fewer, and the other ways to read each."""
        items: list[Found] = []
        ends = [at]
        open_ways = [self.slot(node.body, at, {})]
        while open_ways:
            end, item = next(open_ways[-1], (-1, {}))
            if end > ends[-1] and _is_item(node, item):
                items.append(item)
                ends.append(end)
                open_ways.append(iter(()) if item.get("loop_last") else self.slot(node.body, end, {}))
            elif end < 0:
                if not items or items[-1].get("loop_last", True):
                    yield ends[-1], {**found, node.path[-1]: _collected(node, items)}
                open_ways.pop()
                ends.pop()
                items = items[:-1]


def _is_item(node: Each, item: Found) -> bool:
    """Whether every name was found; what was read as a key with quotes or brackets in it was no key."""
    if any(name not in item for name in node.names):
        return False
    return len(node.names) == 1 or not _NO_KEY.search(str(item[node.names[0]]))


def _collected(node: Each, items: list[Found]) -> Any:
    if len(node.names) == 1:
        return [item[node.names[0]] for item in items]
    key, value = node.names
    return {str(item[key]): item[value] for item in items}


def _read(text: str, node: Value) -> Any:
    """A value written bare: what it was before a filter printed it, where the text tells."""
    if "printed" in node.filters:
        return _bare_or_text(text, literal(text))
    if "text_or_json" in node.filters:
        try:
            return _bare_or_text(text, json.loads(text))
        except ValueError:
            return text
    return text


def _bare_or_text(text: str, value: Any) -> Any:
    return text if value == text else Bare(text, value)


@dataclass(frozen=True)
class Bare:
    """A value that is written without quotes, so that its text alone does not tell ``12`` from ``"12"``."""

    text: str
    value: Any


def settled(value: Any, schema: Any) -> Any:
    """A value as its JSON schema has it: text where only text may stand, else what the text reads as."""
    schema = schema if isinstance(schema, Mapping) else {}
    if isinstance(value, Bare):
        return value.text if _is_text(schema, value) else value.value
    if isinstance(value, Mapping):
        fields = schema.get("properties")
        known = fields if isinstance(fields, Mapping) else {}
        return {key: settled(inner, known.get(key)) for key, inner in value.items()}
    return [settled(inner, schema.get("items")) for inner in value] if isinstance(value, list) else value


def _is_text(schema: Mapping[str, Any], value: Bare) -> bool:
    kinds = schema.get("type")
    kinds = [kinds] if isinstance(kinds, str) else kinds
    if not isinstance(kinds, list) or "string" not in kinds:
        return False
    return set(kinds) <= {"string", "null"} and not (value.value is None and "null" in kinds)
