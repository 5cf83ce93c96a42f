"""Tool syntaxes: read back from generated text, found by name, and fitted to templates that have none of their own."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tunesmith.contracts import ToolSyntax
from tunesmith.data.conversation import Call
from tunesmith.templates.matching import match_call, settled
from tunesmith.templates.model import Each, If, Slot, Template, ToolTable, Trim, Value, Words, writes

_DECODER = json.JSONDecoder()
_KEY = r'"(\w+)"\s*:\s*"?\{call\.%s[|}]'


@dataclass(frozen=True)
class JsonShape:
    """A call that is a JSON object: the keys of its parts, and the mark that it follows."""

    name: str
    arguments: str
    id: str
    mark: str


def json_shape(tools: ToolTable) -> JsonShape | None:
    """The shape of a syntax whose calls are JSON objects, ``None`` for others."""
    call = tools.source.get("call", "")
    keys = {part: re.search(_KEY % part, call) for part in ("name", "arguments", "id")}
    if not keys["name"] or not keys["arguments"]:
        return None
    mark = (call.partition("{")[0].strip() or _plain(tools.open)).rstrip("[{ \n")
    return JsonShape(keys["name"][1], keys["arguments"][1], keys["id"][1] if keys["id"] else "id", mark)


def _plain(slot: Slot) -> str:
    return "".join(node.text for node in slot if isinstance(node, Words)).strip()


def parse_calls(
    text: str,
    tools: ToolTable | ToolSyntax | None,
    parts: Mapping[str, Slot] | None = None,
    known: Sequence[Mapping[str, Any]] = (),
) -> tuple[str, tuple[Call, ...]]:
    """Generated text → the words beside the calls, and the calls. Text that only looks like a call stays words.

    :param parts: the template's parts, which a syntax may write besides its own.
    :param known: the tools that could be called; their schemas tell text from numbers where a syntax writes both bare.
    """
    if tools is None:
        return text, ()
    if not isinstance(tools, ToolTable):
        words, calls = tools.parse(text)
        return words, tuple(calls)
    shape = json_shape(tools)
    pieces = {**(parts or {}), **tools.parts}
    found = list(_json_calls(text, shape, tools.alone) if shape else _matched_calls(text, tools, pieces))
    if not found:
        return text, ()
    start, end = found[0][0], found[-1][1]
    after = text[end:].strip()
    close = _plain(tools.close)
    for mark in (tools.source.get("call", "").rpartition("}")[2].strip(), _last(tools.call), close, close.lstrip("]}")):
        after = after.removeprefix(mark).strip() if mark else after
    before = text[:start].rstrip().removesuffix(_plain(tools.open)).rstrip() if _plain(tools.open) else text[:start].rstrip()
    if shape is None and tools.alone and (before or after):
        return text, ()
    return (before + ("\n" if before and after else "") + after), tuple(_settled(call, known) for _, _, call in found)


def _settled(call: Call, known: Sequence[Mapping[str, Any]]) -> Call:
    functions = (tool.get("function", tool) for tool in known)
    schema = next((function.get("parameters") for function in functions if function.get("name") == call.name), None)
    return replace(call, arguments=settled(call.arguments, schema))


def _last(slot: Slot) -> str:
    return slot[-1].text.strip().lstrip("}").strip() if slot and isinstance(slot[-1], Words) else ""


def _json_calls(text: str, shape: JsonShape, alone: bool) -> Iterator[tuple[int, int, Call]]:
    start = text.find(shape.mark) if shape.mark else len(text) - len(text.lstrip())
    if start < 0 or (alone and text[:start].strip()):
        return
    brace = _next_json(text, start + len(shape.mark))
    while brace is not None:
        try:
            value, end = _DECODER.raw_decode(text, brace)
        except ValueError:
            return
        for item in value if isinstance(value, list) else [value]:
            call = _call(item, shape)
            if call is None:
                return
            yield start, end, call
        brace = _next_call(text, end, shape.mark)


def _next_json(text: str, at: int) -> int | None:
    found = re.compile(r"[\s,;]*(?=[\[{])").match(text, at)
    return found.end() if found else None


def _next_call(text: str, at: int, mark: str) -> int | None:
    """The next call begins right here, or after the next mark, which may itself begin as JSON does."""
    found = text.find(mark, at) if mark else -1
    brace = _next_json(text, at)
    if brace is not None and brace != found:
        return brace
    return _next_json(text, found + len(mark)) if found >= 0 else None


def _call(value: Any, shape: JsonShape) -> Call | None:
    if not isinstance(value, Mapping) or not isinstance(value.get(shape.name), str):
        return None
    arguments = value.get(shape.arguments, {})
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments)
        except ValueError:
            return None
    if not isinstance(arguments, Mapping):
        return None
    known = value.get(shape.id)
    return Call(value[shape.name], arguments, known if isinstance(known, str) else None)


def _matched_calls(text: str, tools: ToolTable, parts: Mapping[str, Slot]) -> Iterator[tuple[int, int, Call]]:
    lead, between = _lead(tools.call), _plain(tools.between)
    at, then = _first_call(text, tools, lead), tuple(filter(None, (between, _plain(tools.close), lead)))
    while at >= 0 and (found := match_call(tools.call, text, at, parts, then)) is not None:
        end, call = found
        yield at, end, call
        at = text.find(lead, end) if lead else end + len(between) * text.startswith(between, end)


def _lead(slot: Slot) -> str:
    """What a call begins with, where it begins with words of the syntax."""
    first = slot[0] if slot else None
    return first.text.strip() if isinstance(first, Words) else ""


def _first_call(text: str, tools: ToolTable, lead: str) -> int:
    """Where the first call may begin, below zero where none can. A call without a mark of its own follows that of them all."""
    if lead or not _plain(tools.open):
        return text.find(lead)
    at = text.find(_plain(tools.open))
    return at + len(_plain(tools.open)) if at >= 0 else at


# ---- a syntax for a template that has none ---------------------------------------------------------------------------


def with_tools(template: Template, tools: ToolTable | ToolSyntax) -> Template:
    """The template with a tool syntax that the user picked; a template that has no places for tools gets generic ones:
    declared after the system text, called after the words, results as what a user says."""
    fitted = replace(template, tools=tools)  # type: ignore[arg-type]
    if not writes(template.reply, "calls"):
        fitted = replace(fitted, reply=_after_content(template.reply))
    if not template.tool:
        result = tools.result if isinstance(tools, ToolTable) else (Value(("result", "content")),)
        fitted = replace(fitted, tool=_as_user(template.user, result))
    return fitted


def _after_content(slot: Slot) -> Slot:
    calls = If((_branch("calls and content", (Words("\n"), Value(("calls",)))), _branch("calls", (Value(("calls",)),))))
    return _mapped(slot, lambda value: (value, calls) if value.path == ("content",) else (value,))


def _as_user(slot: Slot, result: Slot) -> Slot:
    lines = Each(("result",), ("results",), (*result, If((_branch("not loop_last", (Words("\n"),)),))))
    return _mapped(slot, lambda value: (lines,) if value.path == ("content",) else (value,))


def _branch(condition: str, body: Slot) -> Any:
    from tunesmith.templates.model import Branch

    return Branch(condition, body)


def _mapped(slot: Slot, change: Any) -> Slot:
    found: list[Any] = []
    for node in slot:
        if isinstance(node, Value):
            found += change(node)
        elif isinstance(node, If):
            found.append(If(tuple(replace(branch, body=_mapped(branch.body, change)) for branch in node.branches)))
        elif isinstance(node, Each | Trim):
            found.append(replace(node, body=_mapped(node.body, change)))
        else:
            found.append(node)
    return tuple(found)
