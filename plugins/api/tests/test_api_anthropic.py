"""The server and Anthropic's own client: messages, tools, thoughts, streams, and errors of its kinds."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import anthropic
import pytest

from .conftest import KEY
from .running import MODEL, Running, post
from .taught import ASK_ONE, ASK_TWO, HELLO, HELLO_BACK, RIDDLE, SAID_BEFORE, SOLUTION, THOUGHT, WEATHER

pytestmark = pytest.mark.xdist_group("api")
FUNCTION = WEATHER["function"]
TOOL: Any = {"name": FUNCTION["name"], "description": FUNCTION["description"], "input_schema": FUNCTION["parameters"]}


@pytest.fixture(scope="module")
def claude(server: Running) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=server.url, api_key=KEY, max_retries=0, timeout=60) as made:
        yield made


def ask(text: str, **fields: Any) -> dict[str, Any]:
    return {"model": MODEL, "max_tokens": 64, "messages": [{"role": "user", "content": text}], **fields}


# -- whole -------------------------------------------------------------------------------------------------------------


def test_an_answer_has_all_that_a_client_reads(claude: anthropic.Anthropic) -> None:
    made = claude.messages.create(**ask(HELLO))
    assert (made.type, made.role, made.model, made.id[:4]) == ("message", "assistant", MODEL, "msg_")
    assert [(block.type, block.text) for block in made.content if block.type == "text"] == [("text", HELLO_BACK)]
    assert (made.stop_reason, made.stop_sequence) == ("end_turn", None)
    assert made.usage.input_tokens == claude.messages.count_tokens(**_counted(ask(HELLO))).input_tokens > 5
    assert made.usage.output_tokens > 5


def _counted(body: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in body.items() if name != "max_tokens"}


def test_thoughts_are_blocks_that_can_be_sent_back(claude: anthropic.Anthropic) -> None:
    made = claude.messages.create(**ask(RIDDLE))
    thought, words = made.content
    assert thought.type == "thinking"
    assert words.type == "text"
    assert (thought.thinking, words.text) == (THOUGHT, SOLUTION)
    messages: Any = [*ask(RIDDLE)["messages"], {"role": "assistant", "content": made.content}, *ask(HELLO)["messages"]]
    again = claude.messages.create(model=MODEL, max_tokens=8, messages=messages)
    assert again.usage.input_tokens > made.usage.input_tokens


def test_it_thinks_or_not_as_a_request_says(claude: anthropic.Anthropic) -> None:
    """Without thought, the prompt itself holds an empty one."""
    counted = _counted(ask(RIDDLE))
    own = claude.messages.count_tokens(**counted).input_tokens
    assert claude.messages.count_tokens(**counted, thinking={"type": "disabled"}).input_tokens > own
    assert claude.messages.count_tokens(**counted, thinking={"type": "enabled", "budget_tokens": 1024}).input_tokens == own
    off = claude.messages.create(**ask(RIDDLE, thinking={"type": "disabled"}))
    assert not [block for block in off.content if block.type == "thinking"]


def test_a_stop_sequence_and_a_limit_are_told_apart(claude: anthropic.Anthropic) -> None:
    stopped = claude.messages.create(**ask(HELLO, stop_sequences=["never", "!"]))
    assert (stopped.stop_reason, stopped.stop_sequence) == ("stop_sequence", "!")
    assert [block.text for block in stopped.content if block.type == "text"] == ["Hello to you"]
    cut = claude.messages.create(**{**ask(HELLO), "max_tokens": 3})
    assert (cut.stop_reason, cut.usage.output_tokens) == ("max_tokens", 3)


def test_a_system_prompt_and_marks_for_a_cache_are_taken(claude: anthropic.Anthropic) -> None:
    bare = claude.messages.count_tokens(**_counted(ask(HELLO)))
    blocks: Any = [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}]
    forms = [claude.messages.count_tokens(**_counted(ask(HELLO)), system=form) for form in ("Be brief.", blocks)]
    assert forms[0].input_tokens == forms[1].input_tokens > bare.input_tokens
    one: Any = [{"role": "user", "content": [{"type": "text", "text": HELLO, "cache_control": {"type": "ephemeral"}}]}]
    assert claude.messages.count_tokens(model=MODEL, messages=one) == bare


# -- tools -------------------------------------------------------------------------------------------------------------


def test_a_tool_is_called_answered_and_the_conversation_goes_on(claude: anthropic.Anthropic) -> None:
    made = claude.messages.create(**ask(ASK_ONE, tools=[TOOL]))
    assert made.stop_reason == "tool_use"
    words, call = made.content
    assert words.type == "text"
    assert call.type == "tool_use"
    assert (words.text, call.name, call.input) == (SAID_BEFORE, "weather", {"city": "Oslo"})
    result = {"type": "tool_result", "tool_use_id": call.id, "content": [{"type": "text", "text": "rain"}]}
    messages: Any = [
        *ask(ASK_ONE)["messages"],
        {"role": "assistant", "content": made.content},
        {"role": "user", "content": [result, {"type": "text", "text": "And now?"}]},
    ]
    on = claude.messages.create(model=MODEL, max_tokens=4, messages=messages, tools=[TOOL])
    assert on.usage.input_tokens > made.usage.input_tokens + 20


def test_several_calls_come_at_once_unless_only_one_may(claude: anthropic.Anthropic) -> None:
    two = claude.messages.create(**ask(ASK_TWO, tools=[TOOL]))
    assert [block.input for block in two.content if block.type == "tool_use"] == [{"city": "Oslo"}, {"city": "Rome"}]
    single: Any = {"type": "auto", "disable_parallel_tool_use": True}
    one = claude.messages.create(**ask(ASK_TWO, tools=[TOOL], tool_choice=single))
    assert [block.input for block in one.content if block.type == "tool_use"] == [{"city": "Oslo"}]
    none = claude.messages.create(**ask(ASK_TWO, tools=[TOOL], tool_choice={"type": "none"}))
    assert none.stop_reason != "tool_use"


@pytest.mark.parametrize("choice", [{"type": "any"}, {"type": "tool", "name": "weather"}], ids=["any", "tool"])
def test_a_call_that_is_required_is_made(claude: anthropic.Anthropic, choice: Any) -> None:
    schema = {"type": "object", "properties": {"city": {"enum": ["Oslo", "Rome"]}}, "required": ["city"]}
    closed = {**TOOL, "input_schema": {**schema, "additionalProperties": False}}
    made = claude.messages.create(**ask(HELLO, tools=[closed], tool_choice=choice))
    (call,) = made.content
    assert call.type == "tool_use"
    assert (call.name, call.input["city"] in ("Oslo", "Rome"), made.stop_reason) == ("weather", True, "tool_use")


def test_words_are_held_to_a_schema(claude: anthropic.Anthropic) -> None:
    schema = {"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"], "additionalProperties": False}
    made = claude.messages.create(**ask(HELLO, output_config={"format": {"type": "json_schema", "schema": schema}}))
    (words,) = made.content
    assert words.type == "text"
    assert json.loads(words.text) in ({"ok": True}, {"ok": False})


# -- streams -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "fields"),
    [(HELLO, {}), (RIDDLE, {}), (ASK_ONE, {"tools": [TOOL]}), (ASK_TWO, {"tools": [TOOL]}), (HELLO, {"stop_sequences": ["!"]})],
    ids=["words", "thought", "call", "calls", "stopped"],
)
def test_a_stream_adds_up_to_the_whole(claude: anthropic.Anthropic, text: str, fields: Any) -> None:
    """The client itself puts the events together."""
    whole = claude.messages.create(**ask(text, **fields))
    with claude.messages.stream(**ask(text, **fields)) as stream:
        kinds = [event.type for event in stream]
        found = stream.get_final_message()
    assert kinds[0] == "message_start"
    assert kinds[-1] == "message_stop"
    assert [_bare(block) for block in found.content] == [_bare(block) for block in whole.content]
    assert (found.stop_reason, found.stop_sequence) == (whole.stop_reason, whole.stop_sequence)
    assert (found.usage.input_tokens, found.usage.output_tokens) == (whole.usage.input_tokens, whole.usage.output_tokens)


def _bare(block: Any) -> dict[str, Any]:
    kept = ("type", "text", "thinking", "name", "input")
    return {name: value for name, value in block.model_dump().items() if name in kept}


def test_words_come_in_pieces_to_the_async_client(server: Running) -> None:
    async def pieces() -> list[str]:
        async with (
            anthropic.AsyncAnthropic(base_url=server.url, api_key=KEY, max_retries=0, timeout=60) as client,
            client.messages.stream(**ask(HELLO)) as stream,
        ):
            return [text async for text in stream.text_stream]

    found = asyncio.run(pieces())
    assert "".join(found) == HELLO_BACK
    assert len(found) > 3, "it came all at once"


# -- what is refused ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"frobnicate": 1}, "frobnicate"),
        ({"temperature": 1.5}, "temperature"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}, "last message"),
        ({"messages": [{"role": "user", "content": [{"type": "document", "source": {}}]}]}, "content"),
        ({"messages": [{"role": "user", "content": [{"type": "tool_result", "tool_use_id": "x"}]}]}, "tool_use_id"),
        ({"tools": [TOOL, TOOL]}, "same name"),
        ({"tool_choice": {"type": "any"}}, "tool_choice"),
        ({"tools": [TOOL], "tool_choice": {"type": "tool", "name": "x"}}, "tool_choice"),
        ({"thinking": {"type": "enabled", "budget_tokens": 2048}}, "budget_tokens"),
        ({"output_config": {"effort": "low"}}, "output_config.effort"),
        ({"stop_sequences": [""]}, "stop_sequences"),
        ({"stream": True, "output_config": {"effort": "low"}}, "output_config.effort"),
    ],
)
def test_a_wrong_field_is_named(claude: anthropic.Anthropic, fields: Any, says: str) -> None:
    with pytest.raises(anthropic.BadRequestError) as caught:
        claude.post("/v1/messages", body={**ask(HELLO), **fields}, cast_to=object)
    body: Any = caught.value.body
    assert set(body) == {"type", "error"}
    assert body["error"]["type"] == "invalid_request_error"
    assert says in body["error"]["message"]


def test_other_errors_have_anthropics_kinds_too(server: Running, claude: anthropic.Anthropic) -> None:
    with pytest.raises(anthropic.NotFoundError) as missing:
        claude.messages.create(**{**ask(HELLO), "model": "claude-9"})
    assert missing.value.body["error"]["type"] == "not_found_error"  # type: ignore[index]
    with pytest.raises(anthropic.AuthenticationError) as unknown:
        anthropic.Anthropic(base_url=server.url, api_key="no", max_retries=0).messages.create(**ask(HELLO))
    assert unknown.value.body["error"]["type"] == "authentication_error"  # type: ignore[index]
    status, _, large = post(f"{server.url}/v1/messages", b'{"model": "' + b"a" * 2**20 + b'"}', X_Api_Key=KEY)
    assert (status, large["error"]["type"]) == (413, "request_too_large")
    assert post(f"{server.url}/v1/messages", b"{", X_Api_Key=KEY)[2]["type"] == "error"


def test_an_image_reaches_the_model_that_refuses_it(claude: anthropic.Anthropic) -> None:
    source = {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}
    messages: Any = [{"role": "user", "content": [{"type": "image", "source": source}, {"type": "text", "text": "What?"}]}]
    with pytest.raises(anthropic.BadRequestError, match="no place for images"):
        claude.messages.create(model=MODEL, max_tokens=4, messages=messages)
