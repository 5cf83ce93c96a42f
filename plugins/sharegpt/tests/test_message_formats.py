"""Rows of messages become examples, or are refused by message."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from tunesmith import FormatSpec
from tunesmith.contracts import BadRow, Format
from tunesmith.data.conversation import Call, Conversation, Feedback, Media, Preference, Prompt, Result, Text, Thought, Turn
from tunesmith_sharegpt.openai import OpenAiFormat
from tunesmith_sharegpt.plugin import tunesmith_formats
from tunesmith_sharegpt.sharegpt import ShareGptFormat

SPECS: dict[str, FormatSpec] = {spec.name: spec for spec in tunesmith_formats()}
OPTIONAL = {"system": "system", "tools": "tools", "images": "images", "kto_tag": "good"}
Read = Callable[..., Any]


def make(name: str, **tags: str) -> Format:
    kind = {"sharegpt": ShareGptFormat, "openai": OpenAiFormat}[name]
    return kind({**SPECS[name].columns, **OPTIONAL}, {**SPECS[name].tags, **tags})


def share(*messages: tuple[str, Any], kind: str = "conversation", **row: Any) -> Any:
    talk = [{"from": role, "value": text} for role, text in messages]
    return make("sharegpt").read({"conversations": talk, **row}, kind)


def openai(*messages: dict[str, Any], kind: str = "conversation", **row: Any) -> Any:
    return make("openai").read({"messages": list(messages), **row}, kind)


def api(role: str, content: Any, **more: Any) -> dict[str, Any]:
    return {"role": role, "content": content, **more}


HI = Turn("user", (Text("Hi"),))
HELLO = Turn("assistant", (Text("Hello"),))
CALL = '{"name": "weather", "arguments": {"city": "Paris"}}'
ASK = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Paris"}'}}
TOOL = {"name": "weather", "description": "Weather.", "parameters": {"type": "object", "properties": {}}}


def test_plain_conversations() -> None:
    assert share(("human", "Hi"), ("gpt", "Hello")) == Conversation((HI, HELLO))
    assert openai(api("user", "Hi"), api("assistant", "Hello")) == Conversation((HI, HELLO))


def test_a_system_message_wins_over_the_system_column() -> None:
    talk = (("human", "Hi"), ("gpt", "Hello"))
    assert share(*talk, system="Column").turns[0].text == "Column"
    assert share(("system", "Message"), *talk, system="Column").turns[0].text == "Message"
    assert openai(api("system", "M"), api("user", "Hi"), api("assistant", "x"), system="C").turns[0].text == "M"


def test_a_sharegpt_tool_call_is_a_message_of_json() -> None:
    talk = share(("human", "Hi"), ("function_call", CALL), ("observation", "Sunny"), ("gpt", "Hello"), tools=f"[{CALL}]")
    assert talk.turns[1] == Turn("assistant", (Call("weather", {"city": "Paris"}),))
    assert talk.turns[2] == Turn("tool", (Result("Sunny", "weather"),))
    assert talk.tools == ({"type": "function", "function": {"name": "weather", "arguments": {"city": "Paris"}}},)


def test_a_sharegpt_call_may_bring_an_id_which_its_result_gets_too() -> None:
    call = '{"name": "weather", "arguments": {}, "id": "abc"}'
    talk = share(("human", "Hi"), ("function_call", call), ("observation", "Sunny"), ("gpt", "Hello"))
    assert [turn.parts[0].id for turn in talk.turns[1:3]] == ["abc", "abc"]


def test_a_sharegpt_call_may_be_a_list_after_a_thought() -> None:
    talk = share(
        ("human", "Hi"), ("function_call", f"<think>\nHm.\n</think>\n\n[{CALL}, {CALL}]"), ("observation", "x"), ("gpt", "y")
    )
    assert talk.turns[1].parts == (Thought("Hm."), Call("weather", {"city": "Paris"}), Call("weather", {"city": "Paris"}))


def test_openai_tool_calls_thoughts_and_several_results() -> None:
    second = ASK | {"id": "c2", "function": {"name": "time", "arguments": {}}}
    calls = api("assistant", None, reasoning_content="Hm.", tool_calls=[ASK, second])
    results = api("tool", "noon", tool_call_id="c2"), api("tool", "Sunny", tool_call_id="c1")
    talk = openai(api("user", "Hi"), calls, *results, api("assistant", "Hello"), tools=[TOOL])
    assert talk.turns[1].parts == (Thought("Hm."), Call("weather", {"city": "Paris"}, "c1"), Call("time", {}, "c2"))
    assert [turn.parts[0] for turn in talk.turns[2:4]] == [Result("noon", "time", "c2"), Result("Sunny", "weather", "c1")]
    assert talk.tools == ({"type": "function", "function": TOOL},)


def test_a_thought_in_tags_is_a_part_of_its_own() -> None:
    text = "<think>\nHm.\n</think>\n\nHello"
    for talk in (share(("human", "Hi"), ("gpt", text)), openai(api("user", "Hi"), api("assistant", text))):
        assert talk.turns[1].parts == (Thought("Hm."), Text("Hello"))


def test_a_message_may_carry_the_weight_of_its_turn() -> None:
    talk = [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello", "weight": 0.5}]
    assert make("sharegpt").read({"conversations": talk}, "conversation").turns[1] == replace(HELLO, weight=0.5)
    assert openai(api("user", "Hi"), api("assistant", "Hello", weight=0)).turns[1] == replace(HELLO, weight=0.0)


def test_other_names_of_roles_and_columns() -> None:
    tags = {
        "role_tag": "who",
        "content_tag": "what",
        "user_tag": "U",
        "assistant_tag": "A",
        "observation_tag": "O",
        "function_tag": "F",
    }
    row = {"talk": [{"who": "U", "what": "Hi"}, {"who": "A", "what": "Hello"}]}
    for kind, name in ((ShareGptFormat, "sharegpt"), (OpenAiFormat, "openai")):
        columns = {**SPECS[name].columns, "messages": "talk"}
        assert kind(columns, {**SPECS[name].tags, **tags}).read(row, "conversation") == Conversation((HI, HELLO))


def test_preferences_feedback_and_prompts() -> None:
    no = Turn("assistant", (Text("No"),))
    chosen, rejected = {"from": "gpt", "value": "Hello"}, {"from": "gpt", "value": "No"}
    wanted = Preference(Conversation((HI,)), (HELLO,), (no,))
    assert share(("human", "Hi"), kind="preference", chosen=chosen, rejected=rejected) == wanted
    both = {"chosen": [api("assistant", "Hello")], "rejected": api("assistant", "No")}
    assert openai(api("user", "Hi"), kind="preference", **both) == wanted
    assert share(("human", "Hi"), ("gpt", "Hello"), kind="feedback", good=False) == Feedback(Conversation((HI, HELLO)), False)
    assert share(("human", "Hi"), ("gpt", "Hello"), kind="prompt", level=3) == Prompt(
        Conversation((HI,)), {"response": "Hello", "level": 3}
    )
    assert openai(api("user", "Hi"), kind="prompt").conversation == Conversation((HI,))


def test_media_take_the_places_of_their_placeholders() -> None:
    row = {"images": ["a.png"]}
    for talk in (
        share(("human", "See <image>"), ("gpt", "x"), **row),
        openai(api("user", "See <image>"), api("assistant", "x"), **row),
    ):
        assert talk.turns[0].parts == (Text("See "), Media("image", "a.png"))


def wrong(read: Read, *messages: Any, kind: str = "conversation", **row: Any) -> Callable[[], Any]:
    return lambda: read(*messages, kind=kind, **row)


U, A = ("human", "Hi"), ("gpt", "Hello")
OU, OA = api("user", "Hi"), api("assistant", "Hello")
BAD: dict[str, tuple[Callable[[], Any], str, str]] = {
    "no column": (lambda: make("sharegpt").read({"talk": []}, "conversation"), "conversations", "not there"),
    "not a list": (lambda: make("sharegpt").read({"conversations": "Hi"}, "conversation"), "conversations", "text, not a list"),
    "empty list": (wrong(share), "conversations", "empty"),
    "a message that is text": (
        lambda: make("sharegpt").read({"conversations": ["Hi"]}, "conversation"),
        "conversations[0]",
        "not an object",
    ),
    "no answer": (wrong(share, U), "conversations", "no answer: the last turn is of the user"),
    "no question": (wrong(share, A), "conversations[0]", "wrong order"),
    "two users": (wrong(share, U, U, A), "conversations[1]", "wrong order"),
    "two answers": (wrong(share, U, A, A), "conversations[2]", "wrong order"),
    "a late system message": (wrong(share, U, A, ("system", "x"), A), "conversations[2]", "wrong order"),
    "numbered past the system": (wrong(share, ("system", "x"), U, U), "conversations[2]", "wrong order"),
    "only a system message": (wrong(share, ("system", "x")), "conversations", "nobody says anything"),
    "an observation first": (wrong(share, ("observation", "x"), A), "conversations[0]", "begins with the user"),
    "an unknown role": (wrong(share, U, ("gtp", "x")), "conversations[1]", "Did you mean 'gpt'?"),
    "an empty answer": (wrong(share, U, ("gpt", " ")), "conversations[1]", "no answer"),
    "an empty question": (wrong(share, ("human", ""), A), "conversations[0]", "says nothing"),
    "a number as text": (wrong(share, U, ("gpt", 4)), "conversations[1]", "a number, not text"),
    "a call that is no JSON": (wrong(share, U, ("function_call", "weather(Paris)")), "conversations[1]", "no valid JSON"),
    "a call without a name": (wrong(share, U, ("function_call", "{}")), "conversations[1]", "a tool call is"),
    "arguments that are no object": (
        wrong(share, U, ("function_call", '{"name": "f", "arguments": [1]}')),
        "conversations[1]",
        "not an object",
    ),
    "a bad weight": (
        lambda: make("sharegpt").read({"conversations": [{"from": "human", "value": "x", "weight": "no"}]}, "conversation"),
        "conversations[0]",
        "weight is 'no'",
    ),
    "no rejected": (wrong(share, U, kind="preference", chosen={"from": "gpt", "value": "x"}), "rejected", "not there"),
    "a user's answer": (wrong(share, U, kind="preference", chosen={"from": "human", "value": "x"}), "chosen", "said by user"),
    "an answered preference": (
        wrong(share, U, A, kind="preference", chosen={}, rejected={}),
        "conversations",
        "prompt ends with",
    ),
    "no verdict": (wrong(share, U, A, kind="feedback"), "good", "not there"),
    "more images than placeholders": (wrong(share, U, A, images=["a"]), "images", "no <image>"),
    "openai: an unknown role": (wrong(openai, OU, api("asistant", "x")), "messages[1]", "Did you mean 'assistant'?"),
    "openai: no answer": (wrong(openai, OU), "messages", "no answer"),
    "openai: two answers": (wrong(openai, OU, OA, OA), "messages[2]", "wrong order"),
    "openai: an empty answer": (wrong(openai, OU, api("assistant", "")), "messages[1]", "no answer"),
    "openai: no content": (wrong(openai, OU, {"role": "assistant"}), "messages[1]", "missing, not text"),
    "openai: broken arguments": (
        wrong(openai, OU, api("assistant", None, tool_calls=[{"function": {"name": "f", "arguments": "{"}}])),
        "messages[1]",
        "no JSON",
    ),
    "openai: calls without answer": (
        wrong(openai, OU, api("assistant", "", tool_calls=[ASK]), api("tool", "x")),
        "messages",
        "no answer",
    ),
    "openai: a bad weight": (wrong(openai, OU, api("assistant", "x", weight=-1)), "messages[1]", "weight"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_row_names_its_message(name: str) -> None:
    read, column, reason = BAD[name]
    with pytest.raises(BadRow) as caught:
        read()
    assert caught.value.column == column
    assert reason in caught.value.reason
