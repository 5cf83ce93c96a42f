"""A small stand-in for inference servers that need hardware of their own: a real tiny model behind a real HTTP server.

A plugin's tests add what its server's requests and events look like (:class:`Dialect`), as strict as the real one. What picks
tokens is written here once, from transformers' processors.
"""

from __future__ import annotations

import json
import sys
import threading
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import torch


@dataclass(frozen=True)
class Pick:
    """How to pick tokens; temperature 0 is greedy, ``top_k`` 0 all tokens."""

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repetition: float = 1.0
    presence: float = 0.0
    frequency: float = 0.0
    bias: Mapping[int, float] = field(default_factory=dict)
    seed: int | None = None


@dataclass(frozen=True)
class Wanted:
    """A request, understood. ``logprobs``: how many of the likeliest tokens to report, ``None`` for no report."""

    ids: tuple[int, ...]
    most: int
    ends: frozenset[int]
    pick: Pick
    adapter: str | None = None
    logprobs: int | None = None


@dataclass(frozen=True)
class Said:
    """One new token: its log-probability before anything changes it, and the likeliest there."""

    token: int
    logprob: float
    top: tuple[tuple[int, float], ...]
    finish: str | None


class QuietServer(ThreadingHTTPServer):
    """Says nothing of clients that hang up, as real servers do."""

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Only what is the server's own fault is worth a traceback."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class Wrong(Exception):
    """A request that the server refuses, with this HTTP status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class SmallModel:
    """A tiny model and its LoRA adapters, token by token."""

    def __init__(self, folder: Path, adapters: Mapping[str, Path], longest: int) -> None:
        from transformers import AutoModelForCausalLM

        self.model: Any = AutoModelForCausalLM.from_pretrained(folder)
        self.longest = longest
        self.adapters = dict(adapters)
        self.vocabulary = self.model.config.get_text_config().vocab_size
        self._turn = threading.Lock()
        if longest > self.model.config.get_text_config().max_position_embeddings:
            raise SystemExit(f"ValueError: a length of {longest} is more than the model was made for")
        for name, place in adapters.items():
            self._add(name, place)

    def _add(self, name: str, place: Path) -> None:
        from peft import PeftModel

        if isinstance(self.model, PeftModel):
            self.model.load_adapter(place, adapter_name=name)
        else:
            self.model = PeftModel.from_pretrained(self.model, place, adapter_name=name)

    def _with(self, adapter: str | None) -> AbstractContextManager[Any]:
        if not self.adapters:
            return nullcontext()
        if adapter is None:
            off: AbstractContextManager[Any] = self.model.disable_adapter()
            return off
        self.model.set_adapter(adapter)
        return nullcontext()

    @torch.inference_mode()
    def answer(self, wanted: Wanted) -> Iterator[Said]:
        """The tokens that follow a prompt."""
        source = torch.Generator()
        source.seed() if wanted.pick.seed is None else source.manual_seed(wanted.pick.seed)
        ids, new, cache = torch.tensor([wanted.ids]), torch.tensor([wanted.ids]), None
        for number in range(wanted.most):
            with self._turn, self._with(wanted.adapter):
                out = self.model(input_ids=new, past_key_values=cache, use_cache=True)
            logits, cache = out.logits[:, -1].float(), out.past_key_values
            plain = logits.log_softmax(dim=-1)[0]
            new = choose(ids, logits, wanted.pick, len(wanted.ids), source)
            ids, token = torch.cat([ids, new], dim=1), int(new)
            likely = plain.topk(wanted.logprobs or 0)
            top = tuple(zip(likely.indices.tolist(), likely.values.tolist(), strict=True))
            finish = "stop" if token in wanted.ends else "length" if number == wanted.most - 1 else None
            yield Said(token, float(plain[token]), top, finish)
            if finish:
                return


def choose(ids: torch.Tensor, logits: torch.Tensor, pick: Pick, prompt: int, source: torch.Generator) -> torch.Tensor:
    """The next token after ``ids`` (1, length), from ``logits`` (1, vocabulary): (1, 1)."""
    from transformers.generation import logits_process as steps

    counts = torch.bincount(ids[0, prompt:], minlength=logits.shape[1])
    scores = steps.RepetitionPenaltyLogitsProcessor(pick.repetition)(ids, logits.clone())
    scores = scores - pick.frequency * counts - pick.presence * (counts > 0)
    for token, bias in pick.bias.items():
        scores[0, token] += bias
    if pick.temperature == 0:
        return scores.argmax(dim=-1, keepdim=True)
    scores = scores / pick.temperature
    if pick.top_k:
        scores = steps.TopKLogitsWarper(pick.top_k)(ids, scores)
    if pick.top_p < 1:
        scores = steps.TopPLogitsWarper(pick.top_p)(ids, scores)
    if pick.min_p:
        scores = steps.MinPLogitsWarper(pick.min_p)(ids, scores)
    return torch.multinomial(scores.softmax(dim=-1), 1, generator=source)


class Dialect:
    """What a server's requests and events look like. ``path``: where requests go."""

    path: str

    @abstractmethod
    def understand(self, body: Mapping[str, Any], model: SmallModel) -> Wanted:
        """A request's body.

        :raises Wrong: the real server would refuse it.
        """

    @abstractmethod
    def tell(self, said: Said, wanted: Wanted) -> Mapping[str, Any]:
        """One new token as an event."""

    @abstractmethod
    def refuse(self, error: Wrong) -> Mapping[str, Any]:
        """The body of an error."""


def serve(model: SmallModel, dialect: Dialect, port: int, key: str) -> None:
    """Answer until the process ends. ``GET /running`` says how many answers are under way."""
    running: set[int] = set()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: Any) -> None:
            pass

        def do_GET(self) -> None:
            known = {"/health": {}, "/running": len(running)}
            self.reply(200 if self.path in known else 404, known.get(self.path))

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            try:
                if self.headers.get("Authorization") != f"Bearer {key}":
                    raise Wrong(401, "Unauthorized")
                if self.path != dialect.path:
                    raise Wrong(404, "Not Found")
                wanted = dialect.understand(json.loads(body), model)
            except Wrong as error:
                self.reply(error.status, dialect.refuse(error))
                return
            self.stream(wanted)

        def reply(self, status: int, plain: Any) -> None:
            data = json.dumps(plain).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def stream(self, wanted: Wanted) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            running.add(id(wanted))
            try:
                for said in model.answer(wanted):
                    self.event(json.dumps(dialect.tell(said, wanted)))
                self.event("[DONE]")
                self.wfile.write(b"0\r\n\r\n")
            except (BrokenPipeError, ConnectionResetError):
                self.close_connection = True  # whoever asked has hung up
            finally:
                running.discard(id(wanted))

        def event(self, data: str) -> None:
            chunk = f"data: {data}\n\n".encode()
            self.wfile.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))

    QuietServer(("127.0.0.1", port), Handler).serve_forever()
