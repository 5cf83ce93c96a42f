"""OpenAI-style messages become conversations; what is wrong is told by the message's number."""

from __future__ import annotations

from typing import Any

import pytest
from tunesmith.data.conversation import Call, Media, Result, Text, Thought, Turn
from tunesmith.data.openai_messages import BadMessage, conversation_from_openai

ASK = {"role": "user", "content": "Hi"}
CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"b": 1, "a": "x"}'}}


def one(message: dict[str, Any]) -> Turn:
    return conversation_from_openai([message]).turns[0]


@pytest.mark.parametrize(
    ("message", "turn"),
    [
        (ASK, Turn("user", (Text("Hi"),))),
        ({"role": "developer", "content": "Be"}, Turn("system", (Text("Be"),))),
        ({"role": "user", "content": [{"type": "text", "text": "a"}, "b"]}, Turn("user", (Text("a"), Text("b")))),
        ({"role": "user", "content": ""}, Turn("user", (Text(""),))),
        ({"role": "assistant", "content": "x", "weight": 0}, Turn("assistant", (Text("x"),), 0.0)),
        ({"role": "assistant", "content": "x", "reasoning_content": "t"}, Turn("assistant", (Thought("t"), Text("x")))),
        ({"role": "assistant", "content": "x", "thinking": "t"}, Turn("assistant", (Thought("t"), Text("x")))),
        (
            {"role": "assistant", "content": None, "tool_calls": [CALL]},
            Turn("assistant", (Call("f", {"b": 1, "a": "x"}, "c1"),)),
        ),
        (
            {"role": "assistant", "content": "x", "tool_calls": [CALL]},
            Turn("assistant", (Text("x"), Call("f", {"b": 1, "a": "x"}, "c1"))),
        ),
        ({"role": "tool", "content": "r", "tool_call_id": "c1"}, Turn("tool", (Result("r", None, "c1"),))),
        ({"role": "tool", "content": {"é": 1}, "name": "f"}, Turn("tool", (Result('{"é": 1}', "f"),))),
        (
            {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "a.png"}}]},
            Turn("user", (Media("image", "a.png"),)),
        ),
    ],
)
def test_a_message_becomes_a_turn(message: dict[str, Any], turn: Turn) -> None:
    assert one(message) == turn


def test_arguments_keep_their_order_and_objects_are_taken_as_they_are() -> None:
    calls = [CALL, {"function": {"name": "g", "arguments": {"z": 1, "a": 2}}}]
    parts = one({"role": "assistant", "tool_calls": calls}).parts
    assert [list(part.arguments) for part in parts if isinstance(part, Call)] == [["b", "a"], ["z", "a"]]


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ("Hi", r"messages\[1\] is text, not an object"),
        ({"role": "asistant", "content": "x"}, r"messages\[1\].role is 'asistant'. Did you mean 'assistant'"),
        ({"content": "x"}, r"messages\[1\].role is None"),
        ({"role": "assistant"}, r"messages\[1\].content is missing, not text"),
        ({"role": "user", "content": 3}, r"messages\[1\].content is a number, not text"),
        ({"role": "user", "content": [{"type": "text"}]}, r"messages\[1\].content\[0\] is of the type 'text'"),
        ({"role": "user", "content": [{"type": "smell"}]}, r"messages\[1\].content\[0\] is of the type 'smell'"),
        ({"role": "assistant", "tool_calls": {}}, r"messages\[1\].tool_calls is an object, not a list"),
        ({"role": "assistant", "tool_calls": [{}]}, r"messages\[1\].tool_calls\[0\] has no function with a name"),
        (
            {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "{"}}]},
            r"tool_calls\[0\].arguments is no JSON",
        ),
        ({"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "[1]"}}]}, "is a list, not an object"),
        ({"role": "user", "content": "x", "tool_calls": [CALL]}, "only the assistant calls tools"),
        ({"role": "assistant", "content": "x", "reasoning_content": 3}, r"messages\[1\].reasoning_content is a number"),
        ({"role": "assistant", "content": "x", "weight": "a"}, r"messages\[1\].weight is 'a'"),
        ({"role": "tool", "content": 3}, r"messages\[1\].content is a number"),
    ],
)
def test_a_mistake_names_the_message(message: Any, said: str) -> None:
    with pytest.raises(BadMessage, match=said):
        conversation_from_openai([ASK, message])


def test_messages_must_be_a_list() -> None:
    with pytest.raises(BadMessage, match="messages is missing, not a list"):
        conversation_from_openai(None)


def test_tools_are_kept_verbatim_and_bare_functions_wrapped() -> None:
    whole = {"type": "function", "function": {"name": "f"}, "extra": 1}
    assert conversation_from_openai([ASK], [whole, {"name": "g"}]).tools == (
        whole,
        {"type": "function", "function": {"name": "g"}},
    )
    with pytest.raises(BadMessage, match=r"tools\[0\] has no function with a name"):
        conversation_from_openai([ASK], [{}])
