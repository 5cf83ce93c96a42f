"""A server under way: full queues, clients that leave, a signal to end. It has one slot, one place to wait, and no key."""

from __future__ import annotations

import http.client
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from tunesmith.cli.main import main

from .running import MODEL, Running, post
from .taught import HELLO, HELLO_BACK

pytestmark = pytest.mark.xdist_group("api")
CHAT = "/v1/chat/completions"


@pytest.fixture(scope="module")
def narrow(taught: Path) -> Iterator[Running]:
    running = Running(f"model_name_or_path={taught}", "do_sample=false", "max_concurrent=1", "api_queue=1", "api_verbose=false")
    yield running
    running.close()


@pytest.fixture(scope="module")
def end(taught: Path) -> dict[str, int]:
    """A bias against the tokens that end an answer, so that it goes on until its limit."""
    ends = json.loads((taught / "generation_config.json").read_text(encoding="utf-8"))["eos_token_id"]
    return {str(id_): -100 for id_ in (ends if isinstance(ends, list) else [ends])}


def body(**fields: Any) -> dict[str, Any]:
    return {"model": MODEL, "messages": [{"role": "user", "content": HELLO}], **fields}


class Endless:
    """A client that reads the beginning of a stream that goes on for long, and no more."""

    def __init__(self, server: Running, end: dict[str, int], tokens: int = 1500) -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
        asked = body(stream=True, max_tokens=tokens, logit_bias=end)
        self.connection.request("POST", CHAT, json.dumps(asked), {"Content-Type": "application/json"})
        self.answer = self.connection.getresponse()
        assert self.answer.status == 200
        self.answer.read(200)

    def leave(self) -> None:
        self.answer.close()
        self.connection.close()

    def rest(self) -> str:
        return self.answer.read().decode()


def wait_until(true: Callable[[], bool], seconds: float = 30) -> None:
    limit = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < limit, "it never came true"
        time.sleep(0.02)


def test_a_client_that_leaves_frees_its_slot_at_once(narrow: Running, end: dict[str, int]) -> None:
    gone = narrow.number("tunesmith_clients_gone_total")
    for _ in range(3):
        Endless(narrow, end).leave()
        began = time.monotonic()
        assert post(narrow.url + CHAT, body())[2]["choices"][0]["message"]["content"] == HELLO_BACK
        assert time.monotonic() - began < 5, "the abandoned answer went on"
    assert narrow.number("tunesmith_clients_gone_total") == gone + 3
    wait_until(lambda: narrow.number("tunesmith_answers_running") == 0)


def test_a_client_that_leaves_while_it_waits_frees_its_place(narrow: Running, end: dict[str, int]) -> None:
    endless = Endless(narrow, end)
    waiting = http.client.HTTPConnection("127.0.0.1", narrow.port, timeout=60)
    waiting.request("POST", CHAT, json.dumps(body()), {"Content-Type": "application/json"})
    wait_until(lambda: narrow.number("tunesmith_requests_waiting") == 1)
    waiting.close()
    wait_until(lambda: narrow.number("tunesmith_requests_waiting") == 0)
    endless.leave()
    wait_until(lambda: narrow.number("tunesmith_answers_running") == 0)


def test_a_full_queue_says_when_to_come_back(narrow: Running, end: dict[str, int]) -> None:
    endless = Endless(narrow, end)
    waiting = threading.Thread(target=post, args=(narrow.url + CHAT, body()))
    waiting.start()
    wait_until(lambda: narrow.number("tunesmith_requests_waiting") == 1)
    for fields in ({}, {"stream": True}):
        status, headers, answer = post(narrow.url + CHAT, body(**fields))
        assert (status, answer["error"]["code"]) == (429, "overloaded")
        assert 1 <= int(headers["retry-after"]) <= 60
    endless.leave()
    waiting.join(30)
    with openai.OpenAI(base_url=f"{narrow.url}/v1", api_key="none", max_retries=2) as client:
        assert client.chat.completions.create(**body()).choices[0].message.content == HELLO_BACK


def test_without_a_key_only_names_of_this_machine_are_answered_to(narrow: Running) -> None:
    """A web page whose own name leads to 127.0.0.1 sends that name."""
    assert post(narrow.url + CHAT, body(max_tokens=1), Host="localhost:1")[0] == 200
    for name in (
        "evil.example",
        "evil.example:8000",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        "",
        "203.0.113.9",
    ):
        connection = http.client.HTTPConnection("127.0.0.1", narrow.port, timeout=30)
        connection.putrequest("GET", "/v1/models", skip_host=True)
        connection.putheader("Host", name)
        connection.endheaders()
        assert connection.getresponse().status == 403, name
        connection.close()


def test_nothing_is_logged_where_that_is_wished(narrow: Running) -> None:
    assert not [line for line in narrow.log if " GET " in line or " POST " in line]


def test_a_signal_finishes_what_runs_and_refuses_the_new(narrow: Running, end: dict[str, int]) -> None:
    """The last test here: the server ends."""
    endless = Endless(narrow, end, 400)
    narrow.process.terminate()
    time.sleep(0.5)
    with pytest.raises(OSError, match="refused"):
        http.client.HTTPConnection("127.0.0.1", narrow.port, timeout=5).request("GET", "/health")
    assert endless.rest().endswith("data: [DONE]\n\n")
    assert narrow.process.wait(60) == 0
    assert "Traceback" not in "".join(narrow.log)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["api_host=0.0.0.0"], "API_KEY"),
        (["api_host=::"], "API_KEY"),
        (["api_host=203.0.113.9"], "API_KEY"),
        (["safe_media_path=/no/such"], "there is no folder"),
        (["fastapi_root_path=x"], "/prefix"),
        (["api_port=70000"], "api_port"),
        (["api_key=ключ"], "ASCII"),
    ],
)
def test_what_is_unsafe_or_wrong_never_starts(
    taught: Path, capsys: pytest.CaptureFixture[str], words: list[str], says: str
) -> None:
    assert main(["api", f"model_name_or_path={taught}", *words]) == 2
    assert says in capsys.readouterr().err


def test_a_port_that_is_taken_is_said_before_anything_is_loaded(taught: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        began = time.monotonic()
        assert main(["api", f"model_name_or_path={taught}", "--port", str(taken.getsockname()[1])]) == 2
    assert time.monotonic() - began < 5
    assert "--port" in capsys.readouterr().err
