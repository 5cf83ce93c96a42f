"""Thirty-two clients that leave, dawdle, send too much and send nonsense; LOAD_SECONDS says for how long."""

from __future__ import annotations

import http.client
import json
import os
import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .running import MODEL, Running
from .taught import HELLO, HELLO_BACK, RIDDLE, SOLUTION

pytestmark = [pytest.mark.long, pytest.mark.xdist_group("api")]
CHAT, CLIENTS = "/v1/chat/completions", 32
SECONDS = float(os.environ.get("LOAD_SECONDS", "120"))
HEADERS = {"Content-Type": "application/json"}


class Client:
    """One of them; ``seen`` counts what became of its requests, ``wrong`` holds what should not have been."""

    def __init__(self, server: Running, seed: int) -> None:
        self.server = server
        self.random = random.Random(seed)
        self.seen: Counter[str] = Counter()
        self.wrong: list[str] = []

    def run(self, end: float) -> None:
        """Do one thing after the other."""
        kinds: list[Callable[[], None]] = [self.ask] * 8 + [self.stream] * 4
        kinds += [self.message, self.message, self.leave, self.dawdle, self.too_large, self.nonsense, self.half]
        while time.monotonic() < end:
            kind = self.random.choice(kinds)
            try:
                kind()
            except (OSError, http.client.HTTPException) as error:
                self.wrong.append(f"{kind.__name__}: {error!r}")

    def send(self, sent: Any, path: str = CHAT, timeout: float = 120) -> http.client.HTTPResponse:
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=timeout)
        data = sent if isinstance(sent, bytes) else json.dumps(sent).encode()
        connection.request("POST", path, data, {**HEADERS, "Connection": "close"})
        answer = connection.getresponse()
        self.seen[str(answer.status)] += 1
        if answer.status == 429:
            assert int(answer.headers["Retry-After"]) >= 1
        return answer

    def body(self, **fields: Any) -> dict[str, Any]:
        return {"model": MODEL, "messages": [{"role": "user", "content": HELLO}], **fields}

    def ask(self) -> None:
        question, expected = self.random.choice([(HELLO, HELLO_BACK), (RIDDLE, SOLUTION)])
        answer = self.send(self.body(messages=[{"role": "user", "content": question}]))
        found = json.loads(answer.read())
        if answer.status == 200 and found["choices"][0]["message"]["content"] != expected:
            self.wrong.append(f"another answer: {found}")
        elif answer.status not in (200, 429):
            self.wrong.append(f"{answer.status}: {found}")

    def message(self) -> None:
        """The same engine, asked in Anthropic's words."""
        answer = self.send(self.body(max_tokens=64, stream=self.random.random() < 0.5), "/v1/messages")
        found = answer.read().decode()
        if answer.status == 200 and '"end_turn"' not in found.replace(" ", "").replace('"stop_reason":', ""):
            self.wrong.append(f"a message without an end: {found[-200:]}")
        elif answer.status not in (200, 429):
            self.wrong.append(f"{answer.status}: {found}")

    def stream(self) -> None:
        answer = self.send(self.body(stream=True))
        text = answer.read().decode()
        if answer.status == 200 and not text.endswith("data: [DONE]\n\n"):
            self.wrong.append(f"a stream without an end: {text[-200:]}")

    def leave(self) -> None:
        answer = self.send(self.body(stream=True, max_tokens=2000))
        answer.read(self.random.choice([1, 300]))
        answer.close()
        self.seen["left"] += 1

    def dawdle(self) -> None:
        answer = self.send(self.body(stream=True))
        while answer.read(100):
            time.sleep(0.02)
        self.seen["dawdled"] += 1

    def too_large(self) -> None:
        if self.send(b'{"model": "' + b"a" * 2**20 + b'"}').status != 413:
            self.wrong.append("a large body got through")

    def nonsense(self) -> None:
        nonsense = self.random.choice([b"{", b"", b"[]", os.urandom(100), json.dumps(self.body(nonsense=1)).encode()])
        if self.send(nonsense).status != 400:
            self.wrong.append(f"nonsense got through: {nonsense!r}")

    def half(self) -> None:
        """Announce a body, send half of it, and go."""
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=30)
        connection.putrequest("POST", CHAT)
        connection.putheader("Content-Length", "1000")
        connection.endheaders(b"{" * 500)
        connection.close()
        self.seen["went"] += 1


def ended_while_they_ran(server: Running, taught: Path) -> int:
    """A signal while eight long answers run: all come to their end, and nobody new is let in. Returns the exit status."""
    ends = json.loads((taught / "generation_config.json").read_text(encoding="utf-8"))["eos_token_id"]
    client = Client(server, 0)
    on = {str(id_): -100 for id_ in (ends if isinstance(ends, list) else [ends])}
    streams = [client.send(client.body(stream=True, max_tokens=300, logit_bias=on)) for _ in range(8)]
    assert server.number("tunesmith_answers_running") == 8
    server.process.terminate()
    time.sleep(0.5)
    with pytest.raises(OSError, match="refused"):
        client.ask()
    assert all(stream.read().decode().endswith("data: [DONE]\n\n") for stream in streams)
    return server.process.wait(60)


def test_under_load_nothing_is_lost_and_nothing_leaks(taught: Path) -> None:
    words = (f"model_name_or_path={taught}", "do_sample=false", "api_verbose=false", "api_max_body=1")
    server = Running(*words, "max_concurrent=8", "api_queue=16")
    try:
        clients = [Client(server, seed) for seed in range(CLIENTS)]
        began = time.monotonic()
        threads = [threading.Thread(target=client.run, args=(began + SECONDS,)) for client in clients]
        for thread in threads:
            thread.start()
        time.sleep(SECONDS / 4)
        early = server.memory()
        for thread in threads:
            thread.join(SECONDS + 120)
        late = server.memory()
        seen = sum((client.seen for client in clients), Counter())
        print(f"{SECONDS:.0f} s: {dict(seen)}; memory {early / 2**20:.0f} MiB, later {late / 2**20:.0f} MiB")
        assert [wrong for client in clients for wrong in client.wrong] == []
        assert not any(thread.is_alive() for thread in threads), "a request was lost"
        assert seen["200"] > SECONDS
        assert seen["429"] > 0, "the queue was never full"
        limit = time.monotonic() + 20
        while server.number("tunesmith_answers_running") or server.number("tunesmith_requests_waiting"):
            assert time.monotonic() < limit, "a slot leaked"
            time.sleep(0.1)
        assert late < early * 1.1 + 2**25, "memory grows"
        assert ended_while_they_ran(server, taught) == 0
        assert "Traceback" not in "".join(server.log)
    finally:
        server.close()
