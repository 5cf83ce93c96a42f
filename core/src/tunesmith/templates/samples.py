"""Conversations of every kind that templates treat differently, to compare two templates on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

WEATHER: Mapping[str, Any] = {
    "type": "function",
    "function": {
        "name": "find_weather",
        "description": "Look up the weather of a place.",
        "parameters": {
            "type": "object",
            "properties": {
                "place": {"type": "string", "description": "Where"},
                "days": {"type": "integer", "description": "How far ahead", "enum": [1, 7]},
            },
            "required": ["place"],
        },
    },
}
CLOCK: Mapping[str, Any] = {
    "type": "function",
    "function": {"name": "read_clock", "description": "Tell the time.", "parameters": {"type": "object", "properties": {}}},
}
_SYSTEM = {"role": "system", "content": "Answer in one sentence."}
_ASK = {"role": "user", "content": "How is it in Oslo?"}
_SAY = {"role": "assistant", "content": "Cold."}
_MORE = {"role": "user", "content": "And tomorrow?"}
_THOUGHT = {"role": "assistant", "content": "Colder.", "reasoning_content": "Winter comes."}


def _call(name: str, arguments: Mapping[str, Any], known: str) -> dict[str, Any]:
    return {"id": known, "type": "function", "function": {"name": name, "arguments": arguments}}


_CALLING = {
    "role": "assistant",
    "content": "",
    "tool_calls": [_call("find_weather", {"place": "Oslo", "days": 1}, "abcdefgh1")],
}
_BOTH = {**_CALLING, "tool_calls": [*_CALLING["tool_calls"], _call("read_clock", {}, "abcdefgh2")]}
_RESULT = {"role": "tool", "name": "find_weather", "tool_call_id": "abcdefgh1", "content": '{"degrees": -3}'}
_SECOND = {"role": "tool", "name": "read_clock", "tool_call_id": "abcdefgh2", "content": "noon"}
_TOOLS = [WEATHER, CLOCK]

#: Name → a line for :func:`tunesmith.templates.lines.read_line`.
SAMPLES: Mapping[str, Mapping[str, Any]] = {
    "one turn": {"messages": [_ASK, _SAY]},
    "system": {"messages": [_SYSTEM, _ASK, _SAY]},
    "several turns": {"messages": [_ASK, _SAY, _MORE, _SAY]},
    "several turns, system": {"messages": [_SYSTEM, _ASK, _SAY, _MORE, _SAY]},
    "white space": {"messages": [{"role": "user", "content": " \n hello \n"}, {"role": "assistant", "content": "\n hi \n"}]},
    "braces, code, scripts": {
        "messages": [
            {"role": "user", "content": "{{x}} {% y %} ```c\nint a;\n``` שלום é 中文"},
            {"role": "assistant", "content": "</done> {content} ok"},
        ]
    },
    "prompt": {"messages": [_ASK], "generation_prompt": True},
    "prompt, several turns": {"messages": [_SYSTEM, _ASK, _SAY, _MORE], "generation_prompt": True},
    "tools, no call": {"messages": [_ASK, _SAY], "tools": _TOOLS},
    "tools, system": {"messages": [_SYSTEM, _ASK, _SAY], "tools": _TOOLS},
    "call": {"messages": [_ASK, _CALLING], "tools": _TOOLS},
    "call and result": {"messages": [_ASK, _CALLING, _RESULT, _SAY], "tools": _TOOLS},
    "words and call": {"messages": [_ASK, {**_CALLING, "content": "Let me see."}, _RESULT, _SAY], "tools": _TOOLS},
    "two calls at once": {"messages": [_ASK, _BOTH, _RESULT, _SECOND, _SAY], "tools": _TOOLS},
    "two calls in turn": {"messages": [_ASK, _CALLING, _RESULT, _CALLING, _RESULT, _SAY, _MORE, _SAY], "tools": _TOOLS},
    "prompt after a result": {"messages": [_ASK, _CALLING, _RESULT], "tools": _TOOLS, "generation_prompt": True},
    "thought": {"messages": [_ASK, _THOUGHT]},
    "thoughts in every turn": {"messages": [_ASK, _THOUGHT, _MORE, _THOUGHT]},
    "thought in one turn": {"messages": [_ASK, _SAY, _MORE, _THOUGHT]},
    "thought before a call": {
        "messages": [_ASK, {**_CALLING, "reasoning_content": "I do not know."}, _RESULT, _THOUGHT],
        "tools": _TOOLS,
    },
    "prompt after a thought": {"messages": [_ASK, _THOUGHT, _MORE], "generation_prompt": True},
}
