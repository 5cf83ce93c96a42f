"""The server and OpenAI's own client, which must not be able to tell it from the original."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from openai.types.chat import ChatCompletionMessageFunctionToolCall

from .conftest import KEY
from .running import MODEL, Running
from .taught import ASK_ONE, ASK_TWO, HELLO, HELLO_BACK, RIDDLE, SAID_BEFORE, SOLUTION, THOUGHT, WEATHER

pytestmark = pytest.mark.xdist_group("api")
#: What the template makes of the first question, up to where its answer says more than that nothing was thought.
PROMPT = f"<|im_start|>user\n{HELLO}<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"


@pytest.fixture(scope="module")
def client(server: Running) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key=KEY, max_retries=0, timeout=60) as made:
        yield made


def ask(text: str) -> list[Any]:
    return [{"role": "user", "content": text}]


# -- chat --------------------------------------------------------------------------------------------------------------


def test_an_answer_has_all_that_a_client_reads(client: openai.OpenAI) -> None:
    made = client.chat.completions.create(model=MODEL, messages=ask(HELLO))
    assert made.object == "chat.completion"
    assert made.model == MODEL
    assert made.created > 1_700_000_000
    assert made.choices[0].message.content == HELLO_BACK
    assert made.choices[0].message.role == "assistant"
    assert made.choices[0].message.tool_calls is None
    assert made.choices[0].finish_reason == "stop"
    assert made.usage is not None
    assert made.usage.total_tokens == made.usage.prompt_tokens + made.usage.completion_tokens > made.usage.prompt_tokens


def test_a_stream_is_the_same_answer_in_pieces(client: openai.OpenAI) -> None:
    chunks = list(
        client.chat.completions.create(model=MODEL, messages=ask(HELLO), stream=True, stream_options={"include_usage": True})
    )
    assert {chunk.object for chunk in chunks} == {"chat.completion.chunk"}
    assert len({chunk.id for chunk in chunks}) == 1
    assert chunks[0].choices[0].delta.role == "assistant"
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == HELLO_BACK
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "stop"
    assert chunks[-1].choices == []
    whole = client.chat.completions.create(model=MODEL, messages=ask(HELLO))
    assert chunks[-1].usage == whole.usage
    assert len(chunks) > 4, "it came all at once"


def test_thoughts_are_told_apart_from_words(client: openai.OpenAI) -> None:
    message: Any = client.chat.completions.create(model=MODEL, messages=ask(RIDDLE)).choices[0].message
    assert (message.reasoning_content, message.content) == (THOUGHT, SOLUTION)
    thought, words = "", ""
    for chunk in client.chat.completions.create(model=MODEL, messages=ask(RIDDLE), stream=True):
        delta: Any = chunk.choices[0].delta
        assert not (words and getattr(delta, "reasoning_content", None)), "a thought came after words"
        thought += getattr(delta, "reasoning_content", None) or ""
        words += delta.content or ""
    assert (thought, words) == (THOUGHT, SOLUTION)


def test_the_async_client_gets_many_answers_at_once(server: Running) -> None:
    async def all_of_them() -> list[str | None]:
        async with openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key=KEY, max_retries=0, timeout=60) as client:
            asked = [HELLO, RIDDLE] * 4
            made = [client.chat.completions.create(model=MODEL, messages=ask(text)) for text in asked]
            found = [answer.choices[0].message.content for answer in await asyncio.gather(*made)]
            stream = await client.chat.completions.create(model=MODEL, messages=ask(HELLO), stream=True)
            return [*found, "".join([chunk.choices[0].delta.content or "" async for chunk in stream])]

    assert asyncio.run(all_of_them()) == [*[HELLO_BACK, SOLUTION] * 4, HELLO_BACK]


# -- tools -------------------------------------------------------------------------------------------------------------


def calls_of(message: Any) -> list[tuple[str, Any]]:
    return [(call.function.name, json.loads(call.function.arguments)) for call in message.tool_calls or ()]


def test_calls_come_as_calls(client: openai.OpenAI) -> None:
    choice = client.chat.completions.create(model=MODEL, messages=ask(ASK_ONE), tools=[WEATHER]).choices[0]  # type: ignore[list-item]
    assert choice.finish_reason == "tool_calls"
    assert choice.message.content == SAID_BEFORE
    assert calls_of(choice.message) == [("weather", {"city": "Oslo"})]
    assert choice.message.tool_calls is not None
    assert choice.message.tool_calls[0].id


def test_several_calls_come_at_once_unless_only_one_may(client: openai.OpenAI) -> None:
    two = client.chat.completions.create(model=MODEL, messages=ask(ASK_TWO), tools=[WEATHER]).choices[0].message  # type: ignore[list-item]
    assert calls_of(two) == [("weather", {"city": "Oslo"}), ("weather", {"city": "Rome"})]
    assert two.content is None
    one = client.chat.completions.create(
        model=MODEL, messages=ask(ASK_TWO), tools=[WEATHER], parallel_tool_calls=False  # type: ignore[list-item]
    ).choices[0].message  # fmt: skip
    assert calls_of(one) == [("weather", {"city": "Oslo"})]


def test_calls_in_a_stream_have_their_numbers(client: openai.OpenAI) -> None:
    found: dict[int, list[str]] = {}
    words, finish = "", None
    for chunk in client.chat.completions.create(model=MODEL, messages=ask(ASK_TWO), tools=[WEATHER], stream=True):  # type: ignore[call-overload]
        delta = chunk.choices[0].delta
        finish = chunk.choices[0].finish_reason or finish
        words += delta.content or ""
        for call in delta.tool_calls or ():
            found.setdefault(call.index, []).append(call.function.arguments)
    assert {at: json.loads("".join(parts)) for at, parts in found.items()} == {0: {"city": "Oslo"}, 1: {"city": "Rome"}}
    assert (words, finish) == ("", "tool_calls")


def test_a_conversation_goes_on_with_what_the_client_got(client: openai.OpenAI) -> None:
    """The answer is sent back as the client dumps it, with the tool's result behind it."""
    first = client.chat.completions.create(model=MODEL, messages=ask(ASK_ONE), tools=[WEATHER]).choices[0].message  # type: ignore[list-item]
    assert first.tool_calls is not None
    result = {"role": "tool", "tool_call_id": first.tool_calls[0].id, "content": "rain"}
    messages: Any = [*ask(ASK_ONE), first.model_dump(), result]
    second = client.chat.completions.create(model=MODEL, messages=messages, tools=[WEATHER])  # type: ignore[list-item]
    assert second.usage is not None
    assert second.usage.prompt_tokens > 50


def test_tool_choice_none_shows_the_model_no_tools(client: openai.OpenAI) -> None:
    bare = client.chat.completions.create(model=MODEL, messages=ask(ASK_ONE))
    none = client.chat.completions.create(model=MODEL, messages=ask(ASK_ONE), tools=[WEATHER], tool_choice="none")  # type: ignore[call-overload]
    assert none.usage == bare.usage
    assert none.choices[0].message.tool_calls is None


# -- how tokens are picked ---------------------------------------------------------------------------------------------


def closed(**properties: Any) -> dict[str, Any]:
    """The schema of an object with these properties and no others."""
    return {"type": "object", "properties": properties, "required": [*properties], "additionalProperties": False}


def test_a_schema_is_kept_to_whatever_the_model_would_say(client: openai.OpenAI) -> None:
    pytest.importorskip("llguidance", reason="the engine holds answers to schemas by it")
    form: Any = {"type": "json_schema", "json_schema": {"name": "a", "schema": closed(ok={"type": "boolean"}), "strict": True}}
    made = client.chat.completions.create(model=MODEL, messages=ask(HELLO), response_format=form)
    assert made.choices[0].finish_reason == "stop"
    assert json.loads(made.choices[0].message.content or "") in ({"ok": True}, {"ok": False})


@pytest.mark.parametrize(
    "choice", ["required", {"type": "function", "function": {"name": "weather"}}], ids=["required", "named"]
)
def test_a_call_that_is_required_is_made_whatever_the_model_would_say(client: openai.OpenAI, choice: Any) -> None:
    pytest.importorskip("llguidance", reason="the engine holds answers to schemas by it")
    tool: Any = {**WEATHER, "function": {**WEATHER["function"], "parameters": closed(city={"enum": ["Oslo", "Rome"]})}}
    made = client.chat.completions.create(model=MODEL, messages=ask(HELLO), tools=[tool], tool_choice=choice)
    (call,) = made.choices[0].message.tool_calls or []
    assert isinstance(call, ChatCompletionMessageFunctionToolCall)
    assert call.function.name == "weather"
    assert json.loads(call.function.arguments)["city"] in ("Oslo", "Rome")


def test_several_answers_have_numbers_and_seeds_of_their_own(client: openai.OpenAI) -> None:
    made = [
        client.chat.completions.create(
            model=MODEL, messages=ask("Say anything."), n=3, seed=5, temperature=1.5, top_p=1.0, max_tokens=12
        )
        for _ in range(2)
    ]
    texts = [[choice.message.content for choice in one.choices] for one in made]
    assert texts[0] == texts[1], "a seed repeats"
    assert len(set(texts[0])) > 1, "each answer has a seed of its own"
    assert [choice.index for choice in made[0].choices] == [0, 1, 2]
    indexes = {
        chunk.choices[0].index for chunk in client.chat.completions.create(model=MODEL, messages=ask(HELLO), n=2, stream=True)
    }
    assert indexes == {0, 1}


def test_a_stop_string_and_a_limit_end_an_answer(client: openai.OpenAI) -> None:
    stopped = client.chat.completions.create(model=MODEL, messages=ask(HELLO), stop=["!", "never"]).choices[0]
    assert (stopped.message.content, stopped.finish_reason) == ("Hello to you", "stop")
    for limit in ({"max_tokens": 3}, {"max_completion_tokens": 3}):
        cut = client.chat.completions.create(model=MODEL, messages=ask(HELLO), **limit)  # type: ignore[call-overload]
        assert cut.choices[0].finish_reason == "length"
        assert cut.usage.completion_tokens == 3


def test_a_penalty_of_zero_is_none(client: openai.OpenAI) -> None:
    made = client.chat.completions.create(
        model=MODEL, messages=ask(HELLO), presence_penalty=0, frequency_penalty=0, temperature=0, user="me", logit_bias={}
    )
    assert made.choices[0].message.content == HELLO_BACK


def test_log_probabilities_belong_to_the_tokens_of_the_answer(client: openai.OpenAI) -> None:
    plain = client.chat.completions.create(model=MODEL, messages=ask(HELLO), logprobs=True, top_logprobs=2).choices[0]
    assert plain.logprobs is not None
    tokens = plain.logprobs.content or []
    assert "".join(one.token for one in tokens) == f"<think>\n\n</think>\n\n{HELLO_BACK}<|im_end|>"
    hello = next(one for one in tokens if one.token.startswith("H"))
    assert bytes(hello.bytes or ()).decode() == hello.token == hello.top_logprobs[0].token
    assert 0 >= hello.logprob == hello.top_logprobs[0].logprob > hello.top_logprobs[1].logprob
    streamed = [
        one
        for chunk in client.chat.completions.create(model=MODEL, messages=ask(HELLO), logprobs=True, stream=True)
        for one in (chunk.choices[0].logprobs.content if chunk.choices[0].logprobs else None) or ()
    ]
    assert [one.token for one in streamed] == [one.token for one in tokens]


def test_a_bias_changes_the_answer(client: openai.OpenAI) -> None:
    """It forbids the token that the model would have said."""
    plain = client.completions.create(model=MODEL, prompt=PROMPT, max_tokens=1, logprobs=0)
    assert HELLO_BACK.startswith(plain.choices[0].text)
    biased = [
        client.completions.create(
            model=MODEL, prompt=PROMPT, max_tokens=1, logit_bias={str(at): -100 for at in range(half, 1024, 2)}
        )
        for half in (0, 1)
    ]
    assert [made.choices[0].text == plain.choices[0].text for made in biased].count(True) == 1


# -- the other endpoints -----------------------------------------------------------------------------------------------


def test_models_are_listed_and_found(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == [MODEL, "loud"]
    assert client.models.retrieve("loud").model_dump()["parent"] == MODEL
    assert client.models.retrieve(MODEL).object == "model"
    with pytest.raises(openai.NotFoundError, match="no model 'gpt-9'"):
        client.models.retrieve("gpt-9")
    with pytest.raises(openai.NotFoundError) as caught:
        client.chat.completions.create(model="gpt-9", messages=ask(HELLO))
    assert (caught.value.code, caught.value.param) == ("model_not_found", "model")


def test_an_adapter_answers_under_its_own_name_beside_the_model(client: openai.OpenAI) -> None:
    made = {name: client.chat.completions.create(model=name, messages=ask(HELLO), max_tokens=32) for name in (MODEL, "loud")}
    assert made["loud"].model == "loud"
    assert made["loud"].choices[0].message.content != made[MODEL].choices[0].message.content == HELLO_BACK


def test_a_raw_prompt_with_the_templates_tokens_is_read_as_the_template_would(client: openai.OpenAI) -> None:
    made = client.completions.create(model=MODEL, prompt=[PROMPT, PROMPT], max_tokens=32, logprobs=1)
    assert [choice.text for choice in made.choices] == [HELLO_BACK, HELLO_BACK]
    assert made.choices[0].logprobs is not None
    tokens, offsets = made.choices[0].logprobs.tokens or [], made.choices[0].logprobs.text_offset or []
    assert all(HELLO_BACK[at:].startswith(token) for at, token in list(zip(offsets, tokens, strict=True))[:-1])
    streamed = client.completions.create(model=MODEL, prompt=PROMPT, max_tokens=32, stream=True)
    assert "".join(chunk.choices[0].text for chunk in streamed) == HELLO_BACK


def test_a_prompt_may_be_token_ids(client: openai.OpenAI) -> None:
    made = client.completions.create(model=MODEL, prompt=[5, 6, 7], max_tokens=2)
    assert made.usage is not None
    assert made.usage.prompt_tokens == 3
    with pytest.raises(openai.BadRequestError, match="999999 is no token"):
        client.completions.create(model=MODEL, prompt=[999999], max_tokens=2)


def test_a_chat_model_scores_nothing(server: Running, client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError):
        client.post("/score/evaluation", body={"model": MODEL, "messages": ["a"]}, cast_to=object)
