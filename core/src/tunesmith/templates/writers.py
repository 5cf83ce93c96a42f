"""Slots → functions that write them: each takes a scope and appends ``(text, control)`` pairs to a list.

``control`` is true for the template's own words and false for everything that came with the conversation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from tunesmith.contracts import ToolSyntax
from tunesmith.data.conversation import Call
from tunesmith.templates.conditions import Predicate, lookup, predicate
from tunesmith.templates.filters import FILTERS, text_of
from tunesmith.templates.model import Each, If, Part, Slot, Thinking, ToolTable, Trim, Value, Words

Parts: TypeAlias = list[tuple[str, bool]]
Writer: TypeAlias = Callable[[dict[str, Any], Parts], None]


class WriterSet:
    """Makes the writers of one template: of its slots, its parts, and the values made of pieces (tools, calls, thinking)."""

    def __init__(
        self, thinking: Thinking | None, tools: ToolTable | ToolSyntax | None, parts: Mapping[str, Slot] | None = None
    ) -> None:
        self._part_slots = {**(parts or {}), **(tools.parts if isinstance(tools, ToolTable) else {})}
        self._parts: dict[str, Writer] = {}
        self._special: dict[str, Writer] = {"thinking": _thinking(thinking), "tools": _nothing, "calls": _nothing}
        if isinstance(tools, ToolTable):
            self._special["tools"] = self._declaration(tools)
            self._special["calls"] = self._calls(tools)
        elif tools is not None:
            self._special["tools"] = _declared_by(tools)
            self._special["calls"] = _called_by(tools)

    def writer(self, slot: Slot) -> Writer:
        """The function that writes a slot."""
        steps = [(node.text, True) if isinstance(node, Words) else self._step(node) for node in slot]
        if len(steps) == 1 and not isinstance(steps[0], tuple):
            return steps[0]

        def write(scope: dict[str, Any], out: Parts) -> None:
            for step in steps:
                if type(step) is tuple:
                    out.append(step)
                else:
                    step(scope, out)  # type: ignore[operator]  # all that is no pair is a writer

        return write

    def _step(self, node: Value | If | Each | Trim | Part) -> Writer:
        if isinstance(node, Value):
            return self._value(node)
        if isinstance(node, If):
            return self._branches(node)
        if isinstance(node, Part):
            return self._part(node)
        return self._each(node) if isinstance(node, Each) else self._trim(node)

    def _part(self, node: Part) -> Writer:
        find, called = lookup(node.path), lookup(node.called or ("name",))
        if node.name not in self._parts:
            self._parts[node.name] = _nothing  # a part that writes itself finds the name taken; it is looked up when it runs
            self._parts[node.name] = self.writer(self._part_slots[node.name])

        def write(scope: dict[str, Any], out: Parts) -> None:
            self._parts[node.name]({**scope, "it": find(scope), "name": called(scope)}, out)

        return write

    def _value(self, node: Value) -> Writer:
        if len(node.path) == 1 and node.path[0] in self._special:
            return self._special[node.path[0]]
        return _fixed(node.path[0]) if node.path[0] in ("bos", "eos", "date", "effort") else _value(node)

    def _branches(self, node: If) -> Writer:
        arms: list[tuple[Predicate, Writer]] = []
        for branch in node.branches:
            holds = (lambda scope: True) if branch.condition is None else predicate(branch.condition)
            arms.append((holds, self.writer(branch.body)))

        def write(scope: dict[str, Any], out: Parts) -> None:
            for holds, arm in arms:
                if holds(scope):
                    arm(scope, out)
                    return

        return write

    def _each(self, node: Each) -> Writer:
        find, body = lookup(node.path), self.writer(node.body)

        def write(scope: dict[str, Any], out: Parts) -> None:
            many = find(scope) or ()
            items = list(many.items()) if isinstance(many, Mapping) else [(item,) for item in many]
            if node.ordered:
                items.sort(key=lambda item: str(item[0]).lower())
            inner = dict(scope)
            for at, item in enumerate(items):
                inner.update(zip(node.names, item, strict=False))
                inner["loop_first"], inner["loop_last"], inner["loop_index"] = at == 0, at == len(items) - 1, at
                body(inner, out)

        return write

    def _trim(self, node: Trim) -> Writer:
        body = self.writer(node.body)

        def write(scope: dict[str, Any], out: Parts) -> None:
            inner: Parts = []
            body(scope, inner)
            out.extend(trimmed(inner))

        return write

    def _declaration(self, tools: ToolTable) -> Writer:
        declare = self.writer(tools.declare)
        return lambda scope, out: declare(scope, out) if scope["tools"] else None

    def _calls(self, tools: ToolTable) -> Writer:
        opening, call, between, closing = map(self.writer, (tools.open, tools.call, tools.between, tools.close))

        def write(scope: dict[str, Any], out: Parts) -> None:
            if not scope["calls"]:
                return
            opening(scope, out)
            inner = dict(scope)
            for at, item in enumerate(scope["calls"]):
                if at:
                    between(scope, out)
                inner["call"], inner["loop_first"], inner["loop_index"] = item, at == 0, at
                inner["loop_last"] = at == len(scope["calls"]) - 1
                call(inner, out)
            closing(scope, out)

        return write


def _nothing(scope: dict[str, Any], out: Parts) -> None:
    """What a template without tools writes for them."""


def _fixed(name: str) -> Writer:
    def write(scope: dict[str, Any], out: Parts) -> None:
        if scope[name]:
            out.append((scope[name], True))

    return write


def _value(node: Value) -> Writer:
    if len(node.path) == 1 and not node.filters:
        return _plain(node.path[0])
    find, filters = lookup(node.path), [FILTERS[name].apply for name in node.filters]

    def write(scope: dict[str, Any], out: Parts) -> None:
        value = find(scope)
        for apply in filters:
            value = apply(value)
        text = value if type(value) is str else text_of(value)
        if text:
            out.append((text, False))

    return write


def _plain(name: str) -> Writer:
    def write(scope: dict[str, Any], out: Parts) -> None:
        value = scope.get(name)
        if text := value if type(value) is str else text_of(value):
            out.append((text, False))

    return write


def _thinking(thinking: Thinking | None) -> Writer:
    opening, closing = (thinking.open, thinking.close) if thinking else ("", "")

    def write(scope: dict[str, Any], out: Parts) -> None:
        if thought := scope["thought"]:
            out += ((opening, True), (thought.strip("\n"), False), (closing, True))

    return write


def _declared_by(syntax: ToolSyntax) -> Writer:
    return lambda scope, out: out.extend(split_own(syntax.declare(scope["tools"]), syntax)) if scope["tools"] else None


def _called_by(syntax: ToolSyntax) -> Writer:
    def write(scope: dict[str, Any], out: Parts) -> None:
        if scope["calls"]:
            calls = [Call(call["name"], call["arguments"], call["id"]) for call in scope["calls"]]
            out.extend(split_own(syntax.calls(calls), syntax))

    return write


def split_own(text: str, syntax: ToolSyntax) -> Parts:
    """What a tool syntax in Python wrote: the words in its optional attribute ``marks`` are control, the rest is content."""
    parts: Parts = [(text, False)]
    for mark in getattr(syntax, "marks", ()):
        parts = [piece for part in parts for piece in _split(part, mark)]
    return parts


def _split(part: tuple[str, bool], mark: str) -> Parts:
    if part[1]:
        return [part]
    first, *rest = part[0].split(mark)
    found: Parts = [(first, False)]
    for text in rest:
        found += ((mark, True), (text, False))
    return [pair for pair in found if pair[0]]


def trimmed(parts: Sequence[tuple[str, bool]]) -> Parts:
    """The parts without white space at the two ends of their whole text."""
    kept = list(parts)
    while kept and (text := kept[0][0].lstrip()) != kept[0][0]:
        kept[:1] = [(text, kept[0][1])] if text else []
    while kept and (text := kept[-1][0].rstrip()) != kept[-1][0]:
        kept[-1:] = [(text, kept[-1][1])] if text else []
    return kept


def written(writer: Writer, scope: dict[str, Any]) -> str:
    """The text of one slot."""
    out: Parts = []
    writer(scope, out)
    return "".join(text for text, _ in out)
