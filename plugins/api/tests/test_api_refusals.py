"""What the server refuses: in OpenAI's words, with a status that fits, and naming the field."""

from __future__ import annotations

import http.client
import json
import socket
import time
from typing import Any

import pytest

from .conftest import KEY
from .running import MODEL, Running, post
from .taught import HELLO, WEATHER

pytestmark = pytest.mark.xdist_group("api")
ASKED = [{"role": "user", "content": HELLO}]
CHAT = "/v1/chat/completions"
BEARER = f"Bearer {KEY}"


def sent(server: Running, body: Any, path: str = CHAT) -> tuple[int, Any]:
    status, _, answer = post(server.url + path, body, Authorization=BEARER)
    return status, answer


def chat(**fields: Any) -> dict[str, Any]:
    return {"model": MODEL, "messages": ASKED, "max_tokens": 4, **fields}


# -- fields ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (chat(frobnicate=1), "frobnicate"),
        (chat(functions=[]), "functions"),
        (chat(temperature=3), "temperature"),
        (chat(temperature="hot"), "temperature"),
        (chat(top_p=0), "top_p"),
        (chat(n=0), "n"),
        (chat(max_tokens=0), "max_tokens"),
        (chat(max_tokens=4, max_completion_tokens=5), "max_tokens"),
        (chat(stop=[""]), "stop.list[constrained-str][0]"),
        (chat(logit_bias={"x": 1}), "logit_bias"),
        (chat(logit_bias={"999999": 1}), "logit_bias"),
        (chat(top_logprobs=2), "top_logprobs"),
        (chat(temperature=0, do_sample=True), "do_sample"),
        (chat(messages=[]), "messages"),
        (chat(messages=[{"role": "user", "content": None}]), "messages[0].content"),
        (chat(messages=[{"role": "user", "content": []}]), "messages[0].content"),
        (chat(messages=[{"role": "king", "content": "a"}]), "messages[0].role"),
        (chat(messages=[{"role": "user", "content": "a", "colour": "red"}]), "messages[0].colour"),
        (chat(tool_choice="required"), "tool_choice"),
        (chat(tools=[WEATHER], tool_choice={"type": "function", "function": {"name": "x"}}), "tool_choice"),
        (chat(tools=[WEATHER, WEATHER]), "tools"),
        (chat(response_format={"type": "yaml"}), "response_format"),
        (chat(modalities=["audio"]), "modalities[0]"),
        (chat(reasoning_effort="low"), "reasoning_effort"),  # its template has no place for it
        (chat(reasoning_effort="huge"), "reasoning_effort"),
        ({"model": MODEL}, "messages"),
    ],
)  # fmt: skip
def test_a_wrong_field_is_named(server: Running, body: Any, param: str) -> None:
    status, answer = sent(server, body)
    assert status == 400
    assert set(answer["error"]) == {"message", "type", "param", "code"}
    assert answer["error"]["type"] == "invalid_request_error"
    assert (answer["error"]["param"] or "").startswith(param.partition(".list")[0])


def test_a_form_of_answers_is_kept_to(server: Running) -> None:
    """Whatever the model would say, the answer is an object, or a call of the tool; or what of it the limit let through."""
    named = {"type": "function", "function": {"name": "weather"}}
    for fields in ({"response_format": {"type": "json_object"}}, {"tool_choice": "required"}, {"tool_choice": named}):
        tools = {"tools": [WEATHER]} if "tool_choice" in fields else {}
        status, answer = sent(server, chat(**{**fields, **tools, "max_tokens": 64}))
        assert status == 200
        (choice,) = answer["choices"]
        if choice["finish_reason"] == "length":
            assert choice["message"]["content"].lstrip().startswith("{")
        elif "tool_choice" in fields:
            assert [call["function"]["name"] for call in choice["message"]["tool_calls"]] == ["weather"]
        else:
            assert isinstance(json.loads(choice["message"]["content"]), dict)


def test_a_stream_that_cannot_begin_has_a_status_too(server: Running) -> None:
    """And not an empty answer with status 200."""
    for body in (chat(stream=True, messages=[{"role": "tool", "content": None}]), chat(stream=True, model="x")):
        status, answer = sent(server, body)
        assert status in (400, 404)
        assert answer["error"]["message"]
    status, answer = sent(server, chat(stream=True, messages=[{"role": "user", "content": "a " * 6000}]))
    assert (status, "tokens" in answer["error"]["message"]) == (400, True)


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b'"a"', b"\xff\xfe", b'{"model": ' + b"[" * 5000])
def test_what_is_no_json_object_is_refused(server: Running, body: bytes) -> None:
    status, answer = sent(server, body)
    assert status == 400
    assert answer["error"]["type"] == "invalid_request_error"


def test_only_json_is_read(server: Running) -> None:
    """A form on somebody's web page can send text, and must not get through."""
    status, _, answer = post(server.url + CHAT, chat(), Authorization=BEARER, Content_Type="text/plain")
    assert status == 400
    assert "application/json" in answer["error"]["message"]


def test_other_addresses_and_methods_get_errors_of_the_same_shape(server: Running) -> None:
    assert sent(server, {}, "/v1/audio/speech")[0] == 404
    status, answer = sent(server, {}, "/v1/models")
    assert (status, set(answer["error"])) == (405, {"message", "type", "param", "code"})


# -- who may ask -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer ", f"Bearer {KEY}x", f"Bearer {KEY[:-1]}", f"Basic {KEY}", KEY])
def test_without_the_key_nothing_is_answered(server: Running, header: str) -> None:
    for path in (CHAT, "/v1/models", "/metrics", "/v1/score/evaluation", "/nowhere"):
        status, headers, answer = post(server.url + path, chat(), Authorization=header)
        assert (status, answer["error"]["code"]) == (401, "invalid_api_key")
        assert headers["www-authenticate"] == "Bearer"


def test_the_key_may_also_come_as_anthropics_clients_send_it(server: Running) -> None:
    assert post(server.url + CHAT, chat(), X_Api_Key=KEY)[0] == 200


def test_health_and_the_description_need_no_key(server: Running) -> None:
    assert server.get("/health") == '{"status":"ok"}'
    assert '"/v1/chat/completions"' in server.get("/openapi.json")


def test_web_pages_of_others_are_not_let_in(server: Running) -> None:
    status, headers, _ = post(server.url + CHAT, chat(), Authorization=BEARER, Origin="https://evil.example")
    assert status == 200
    assert not [name for name in headers if name.startswith("access-control")]


def test_the_log_says_nothing_of_what_was_asked(server: Running) -> None:
    sent(server, chat(messages=[{"role": "user", "content": "a secret of mine"}]))
    time.sleep(0.3)
    log = "".join(server.log)
    assert "POST /v1/chat/completions 200" in log
    assert "secret" not in log
    assert KEY not in log


# -- how much ----------------------------------------------------------------------------------------------------------


def test_a_body_that_is_too_large_is_refused_however_it_comes(server: Running) -> None:
    large = b'{"model": "' + b"a" * 2**20 + b'"}'
    status, answer = sent(server, large)
    assert (status, answer["error"]["code"]) == (413, "request_too_large")
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    headers = {"Authorization": BEARER, "Content-Type": "application/json"}
    connection.request("POST", CHAT, iter([large[:700_000], large[700_000:]]), headers, encode_chunked=True)
    assert connection.getresponse().status == 413
    connection.close()


@pytest.mark.parametrize(
    "head", [b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n", b"\x00\x01\x02\r\n\r\n", b"GET /" + b"a" * 70000]
)
def test_what_is_no_http_is_refused_and_the_server_lives(server: Running, head: bytes) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
        connection.sendall(head)
        assert connection.recv(100).startswith(b"HTTP/1.1 4")
    assert server.get("/health")


# -- media -------------------------------------------------------------------------------------------------------------


def image(url: str) -> dict[str, Any]:
    return chat(messages=[{"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]}])


@pytest.mark.parametrize(
    ("url", "status", "says"),
    [
        ("../safe_evil/a.png", 403, "only files under"),  # a sibling whose name begins alike
        ("/etc/passwd", 403, "only files under"),
        ("file:///etc/passwd", 403, "only files under"),
        ("/no/such/file", 403, "only files under"),  # what is there outside is not told
        ("link.png", 403, "only files under"),  # a link inside that leads out
        ("a.png\0.txt", 403, "only files under"),
        ("text.png", 400, "no image"),
        ("b.png", 400, "no such file"),
        ("http://127.0.0.1/a.png", 403, "fetches no URLs"),
        ("https://example.com/a.png", 403, "fetches no URLs"),
        ("data:image/png;base64,AAAA", 400, "no image"),
        ("data:image/png;base64,%%", 400, "no base64"),
        ("a.png", 400, "no place for images"),  # allowed, and then the model takes none
        ("data:image/png;base64,iVBORw0KGgo=", 400, "no place for images"),
    ],
)  # fmt: skip
def test_media_is_had_only_from_where_it_may_be(server: Running, url: str, status: int, says: str) -> None:
    found, answer = sent(server, image(url))
    assert (found, says in answer["error"]["message"]) == (status, True), answer
    assert answer["error"]["param"].startswith("messages")
