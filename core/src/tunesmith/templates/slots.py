"""Slot text → nodes: ``{content}``, ``{if last}…{else}…{end}``, ``{each call in calls}…{end}``, ``{trim}…{end}``,
``{part schema it.items}``.

A brace that does not begin one of these is just a brace, so JSON can be written as it is.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

from tunesmith.errors import nearest
from tunesmith.templates.conditions import BadCondition, names_in
from tunesmith.templates.filters import FILTERS
from tunesmith.templates.model import Branch, Each, If, Node, Part, Slot, Trim, Value, Words
from tunesmith.templates.vocabulary import FACTS, VALUES

_NAME = r"[a-z_]+(?:\.[A-Za-z_]+)*"
_TAG = re.compile(
    r"\{(?:"
    r"(?P<branch>if|elif) (?P<condition>[^{}\n]+)"
    r"|each (?P<names>[a-z_]+(?:, [a-z_]+)?) in (?P<many>" + _NAME + r")(?P<sorted>\|sorted)?"
    r"|part (?P<part>[a-z_]+) (?P<of>" + _NAME + r")(?: as (?P<called>" + _NAME + r"))?"
    r"|(?P<word>else|end|trim)"
    r"|(?P<path>" + _NAME + r")(?P<filters>(?:\|[a-z_0-9]+)*)"
    r")\}"
)


class BadSlot(ValueError):
    """A slot that cannot be read. ``instead`` says what to write."""

    def __init__(self, what: str, instead: str = "") -> None:
        super().__init__(what)
        self.instead = instead


@dataclass
class _Open:
    """A tag that waits for its ``{end}``."""

    kind: str
    names: tuple[str, ...] = ()
    path: tuple[str, ...] = ()
    ordered: bool = False
    condition: str | None = None
    branches: list[Branch] = field(default_factory=list)
    body: list[Node] = field(default_factory=list)


def parse_slot(text: str, known: Collection[str] = ()) -> Slot:
    """Read a slot. ``known``: names beyond the vocabulary that it may use, such as ``call`` in a tool syntax.

    :raises BadSlot: an unknown name, filter or condition, or a tag without its ``{end}``.
    """
    stack = [_Open("slot")]
    at = 0
    for tag in _TAG.finditer(text):
        if tag.start() > at:
            stack[-1].body.append(Words(text[at : tag.start()]))
        _take(tag, stack, known)
        at = tag.end()
    if len(stack) > 1:
        raise BadSlot(f"{{{stack[-1].kind} …}} has no {{end}}", "Write {end} where it stops.")
    if at < len(text):
        stack[0].body.append(Words(text[at:]))
    return tuple(_joined(stack[0].body))


def _take(tag: re.Match[str], stack: list[_Open], known: Collection[str]) -> None:
    names = {*known, *(name for level in stack for name in level.names)}
    if tag["path"]:
        stack[-1].body.append(_value(tag, names))
    elif tag["many"]:
        path = tuple(tag["many"].split("."))
        _check_name(path[0], names, tag[0])
        stack.append(_Open("each", tuple(tag["names"].split(", ")), path, bool(tag["sorted"])))
    elif tag["part"]:
        path, called = (tuple(text.split(".")) if text else () for text in (tag["of"], tag["called"]))
        for found in filter(None, (path, called)):
            _check_name(found[0], names, tag[0])
        stack[-1].body.append(Part(tag["part"], path, called))
    elif tag["word"] == "trim":
        stack.append(_Open("trim"))
    elif tag["word"] == "end":
        _close(stack)
    elif tag["branch"] == "if":
        stack.append(_Open("if", condition=_condition(tag, names)))
    else:
        _next_branch(tag, stack, names)


def _value(tag: re.Match[str], names: Collection[str]) -> Node:
    if tag["path"] == "lbrace":
        return Words("{")
    path = tuple(tag["path"].split("."))
    _check_name(path[0], names, tag[0])
    filters = tuple(name for name in tag["filters"].split("|") if name)
    for name in filters:
        if name not in FILTERS:
            raise BadSlot(f"{tag[0]} uses the filter {name!r}, which there is not", nearest(name, FILTERS) or _list(FILTERS))
    if filters and path in (("tools",), ("calls",), ("thinking",)):
        raise BadSlot(f"{tag[0]}: {path[0]} is made of pieces and takes no filter", f"Write {{{path[0]}}}.")
    return Value(path, filters)


def _check_name(name: str, names: Collection[str], tag: str) -> None:
    if name not in VALUES and name not in names:
        hint = nearest(name, [*VALUES, *names]) or _list(VALUES)
        raise BadSlot(f"{tag} names {name!r}, which there is not", f"{hint} For a plain brace write {{lbrace}}.")


def _condition(tag: re.Match[str], names: Collection[str]) -> str:
    text = tag["condition"].strip()
    check_condition(text, names)
    return text


def check_condition(text: str, names: Collection[str] = ()) -> None:
    """Raise unless every name of a condition is known.

    :raises BadSlot: names the part and the nearest known word.
    """
    try:
        used = list(names_in(text))
    except BadCondition as error:
        raise BadSlot(str(error), "Conditions know and, or, not, ==, !=, in, filters, and 'is text'.") from error
    for name in used:
        if name not in FACTS and name not in VALUES and name not in names:
            hint = nearest(name, [*FACTS, *VALUES, *names])
            raise BadSlot(f"the condition {text!r} asks for {name!r}, which there is not", hint)


def _next_branch(tag: re.Match[str], stack: list[_Open], names: Collection[str]) -> None:
    level = stack[-1]
    if level.kind != "if" or (level.branches and level.condition is None):
        raise BadSlot(f"{tag[0]} does not belong to an {{if …}}")
    level.branches.append(Branch(level.condition, tuple(_joined(level.body))))
    level.condition = _condition(tag, names) if tag["branch"] else None
    level.body = []


def _close(stack: list[_Open]) -> None:
    if len(stack) == 1:
        raise BadSlot("{end} closes nothing")
    level = stack.pop()
    body = tuple(_joined(level.body))
    if level.kind == "each":
        stack[-1].body.append(Each(level.names, level.path, body, level.ordered))
    elif level.kind == "trim":
        stack[-1].body.append(Trim(body))
    else:
        stack[-1].body.append(If((*level.branches, Branch(level.condition, body))))


def _joined(nodes: list[Node]) -> Iterator[Node]:
    """Neighbouring words as one node."""
    words = ""
    for node in nodes:
        if isinstance(node, Words):
            words += node.text
            continue
        if words:
            yield Words(words)
            words = ""
        yield node
    if words:
        yield Words(words)


def _list(names: Collection[str]) -> str:
    return f"There are: {', '.join(sorted(names))}."
