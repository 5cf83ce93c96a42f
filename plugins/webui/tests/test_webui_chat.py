"""The page of conversations: a real server, gradio's own client, a tiny model."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from gradio_client import Client
from gradio_client.exceptions import AppError
from tunesmith.api import Chat
from tunesmith.data.conversation import Call, Text, Thought, Turn
from tunesmith.dialogue import sampling_of
from tunesmith.runtime.tiny import make_tiny
from tunesmith_webui.chat_page import Talk, messages_of

from .serving import shown

GREEDY = ("", "", 12, 0.0, 1.0)
"""No system prompt, no tools, twelve tokens, no temperature, all of the choice."""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny("llama", tmp_path_factory.mktemp("webchat") / "model")


@pytest.fixture(scope="module")
def page(model: Path) -> Iterator[str]:
    with shown(["webchat", f"model_name_or_path={model}"], model.parent) as address:
        yield address


def ask(client: Client, said: str) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = client.predict(said, *GREEDY, api_name="/answer")[0]
    return messages


def words(message: dict[str, Any]) -> str:
    content = message["content"]
    return content if isinstance(content, str) else "".join(part["text"] for part in content)


def test_it_says_what_chat_says_and_sessions_share_nothing(page: str, model: Path) -> None:
    first, second = Client(page, verbose=False), Client(page, verbose=False)
    one, other = ask(first, "Hello"), ask(first, "And again")
    assert [message["role"] for message in other] == ["user", "assistant"] * 2
    with Chat({"model_name_or_path": str(model), "do_sample": False, "max_new_tokens": 12}) as chat:
        assert words(one[1]) == chat.ask("Hello")
    assert ask(second, "Hello") == one


def test_it_forgets_when_it_is_told_to(page: str) -> None:
    client = Client(page, verbose=False)
    before = ask(client, "Hello")
    client.predict(api_name="/clear")
    assert ask(client, "Hello") == before


def test_tools_that_are_none_are_told(page: str) -> None:
    with pytest.raises(AppError, match="The tools are no JSON"):
        Client(page, verbose=False).predict("Hello", "", "{", 12, 0.0, 1.0, api_name="/answer")


def test_an_answer_that_is_stopped_stays_as_far_as_it_came(model: Path) -> None:
    keys = {"model_name_or_path": str(model), "do_sample": False, "max_new_tokens": 12}
    with Chat(keys) as chat:
        talk = Talk(chat._engine, sampling_of(chat.plan))
        answer = talk.answer("Hello", (), *GREEDY)
        messages, turns, _ = next(step for step in answer if words(step[0][-1]))
        answer.close()
        assert [turn.role for turn in turns] == ["user", "assistant"]
        assert turns[1].text == words(messages[1])
        *_, (messages, _, _) = talk.answer("And again", turns, *GREEDY)
    assert [message["role"] for message in messages] == ["user", "assistant"] * 2


def test_thoughts_and_calls_are_folded() -> None:
    said = Turn("assistant", (Thought("seven is odd"), Text("It is odd."), Call("get_weather", {"city": "Oslo"})))
    thought, text, call = messages_of((said,))
    assert thought == {"role": "assistant", "content": "seven is odd", "metadata": {"title": "💭"}}
    assert text == {"role": "assistant", "content": "It is odd."}
    assert call["metadata"]["title"] == "🔧 get_weather"
    assert "Oslo" in call["content"]
