"""Which tools a model is shown and which it must call; a call that must be made is held to by a JSON schema."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tunesmith.data.conversation import Call

from tunesmith_api.errors import bad
from tunesmith_api.protocol import ChatRequest, NamedTool, PlainFormat, SchemaFormat


@dataclass(frozen=True)
class Choice:
    """What the model is shown, and what its answer must be.

    :param schema: the JSON schema, as text, that the answer must satisfy.
    :param forced: the answer is a call as JSON and not in the template's own words: of the tool of this name, or with ``""`` of
        any tool, as ``{"name", "arguments"}``.
    :param single: only the first call is handed on.
    """

    tools: tuple[Mapping[str, Any], ...] = ()
    schema: str | None = None
    forced: str | None = None
    single: bool = False

    def only_one(self) -> Choice:
        """The same, with the first call alone handed on."""
        return replace(self, single=True)

    def read(self, text: str) -> Call | None:
        """The forced call in an answer; ``None`` where it broke off before its end."""
        try:
            made = json.loads(text)
            arguments = made if self.forced else made["arguments"]
            return Call(self.forced or made["name"], arguments)
        except (ValueError, KeyError, TypeError):
            return None


def choose(request: ChatRequest) -> Choice:
    """What ``tools``, ``tool_choice``, ``parallel_tool_calls`` and ``response_format`` of a request come to.

    :raises ApiError: names the field that cannot be.
    """
    tools = tuple(tool.model_dump(exclude_none=True, exclude={"function": {"strict"}}) for tool in request.tools or ())
    wanted = request.tool_choice
    named = wanted.function.name if isinstance(wanted, NamedTool) else ""
    choice = decide(tools, "named" if isinstance(wanted, NamedTool) else wanted or "auto", named, _format(request))
    return choice.only_one() if request.parallel_tool_calls is False else choice


def decide(offered: Sequence[Mapping[str, Any]], wanted: str, named: str, form: Mapping[str, Any] | None) -> Choice:
    """Which tools are shown, and which call must be made.

    :param wanted: ``auto``, ``none``, ``required``, or ``named``: that of the name ``named``.
    :param form: the JSON schema that words must satisfy.
    :raises ApiError: names the field that cannot be.
    """
    tools = tuple(offered)
    names = [tool["function"]["name"] for tool in tools]
    if len(set(names)) < len(names):
        raise bad("Two tools have the same name.", "tools")
    schema = None if form is None else json.dumps(form)
    if wanted in ("auto", "none"):
        return Choice(() if wanted == "none" else tools, schema)
    if not tools:
        raise bad("tool_choice asks for a call, and there are no tools.", "tool_choice")
    if schema is not None:
        raise bad("response_format and a tool_choice that asks for a call cannot both be had.", "response_format")
    if wanted == "named":
        return _named(tools, named)
    return Choice(tools, json.dumps({"anyOf": [_call(tool["function"]) for tool in tools]}), "", True)


def _named(tools: Sequence[Mapping[str, Any]], name: str) -> Choice:
    found = next((tool["function"] for tool in tools if tool["function"]["name"] == name), None)
    if found is None:
        raise bad(f"tool_choice names {name!r}, which is none of the tools.", "tool_choice")
    return Choice(tuple(tools), json.dumps(_parameters(found)), name, True)


def _parameters(function: Mapping[str, Any]) -> Mapping[str, Any]:
    return function.get("parameters") or {"type": "object"}


def _call(function: Mapping[str, Any]) -> Mapping[str, Any]:
    parts = {"name": {"const": function["name"]}, "arguments": _parameters(function)}
    return {"type": "object", "properties": parts, "required": ["name", "arguments"], "additionalProperties": False}


def _format(request: ChatRequest) -> Mapping[str, Any] | None:
    wanted = request.response_format
    if isinstance(wanted, SchemaFormat):
        return wanted.json_schema.schema_
    if isinstance(wanted, PlainFormat) and wanted.type == "json_object":
        return {"type": "object"}
    return None
