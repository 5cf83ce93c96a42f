"""What engines have in common that are servers in an environment of their own: token ids go there, token ids come back.

The server is reached over HTTP on the loopback address and never imported. Prompts are encoded and answers decoded here, by the
run's own renderer and tokenizer, so that they are what training saw, whichever engine answers. Stop strings are looked for
here as well; the server is told to stop when one is found.
"""

from __future__ import annotations

import logging
import secrets
import threading
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from http.client import HTTPException
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunesmith.contracts import Delta, Engine, Request
from tunesmith.data.conversation import Conversation
from tunesmith.data.tokens import Encoder, make_encoder
from tunesmith.errors import TunesmithError
from tunesmith.generation import Sampling, TokenLogprob
from tunesmith.plan import Plan
from tunesmith.plugins import Plugins
from tunesmith.runtime.answer_text import Letters, Stops
from tunesmith.runtime.answering import Answer, ends_in
from tunesmith.runtime.event_stream import AtOnce, Connection, Post, Refused
from tunesmith.runtime.hidden_tokens import hidden_tokens
from tunesmith.runtime.server_process import HOST, ServerCommand, ServerProcess, free_port
from tunesmith.served_models import served_adapters, served_context

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

log = logging.getLogger("tunesmith")


@dataclass(frozen=True)
class Speech:
    """What a server's event says: the tokens that are new, and why the answer ended (``stop``, ``length``), if it did.

    ``logprobs``: one entry a token, or none at all; the likeliest first.
    """

    ids: tuple[int, ...] = ()
    logprobs: tuple[TokenLogprob, ...] = ()
    finish: str | None = None


@dataclass(frozen=True)
class Words:
    """What reads answers. ``ends``: ids that end one; ``hidden``: ids that are not shown; ``stop_strings``: the template's."""

    tokenizer: PreTrainedTokenizerBase
    encoder: Encoder
    ends: frozenset[int]
    hidden: frozenset[int]
    stop_strings: tuple[str, ...]


class ServerEngine(Engine):
    """An engine in another process. A plugin says how its server is started and spoken to.

    ``name``: what errors call it. ``most_logprobs``: how many alternatives the server reports.
    """

    name: str
    most_logprobs: int = 20

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.key = secrets.token_hex(24)
        self.context = served_context(plan, self.longest(plan))
        self.served = served_adapters(plan)
        self._words: Words | None = None
        self._process: ServerProcess | None = None
        self._running: set[AtOnce[Delta]] = set()
        self._lock = threading.Lock()

    # -- what a plugin says --------------------------------------------------------------------------------------------

    @abstractmethod
    def longest(self, plan: Plan) -> tuple[int, bool]:
        """How many tokens a sequence may have by the server's own key, and whether that was given."""

    @abstractmethod
    def patience(self, plan: Plan) -> float:
        """How many seconds the server may take to be ready."""

    @abstractmethod
    def command(self, plan: Plan, folder: Path, port: int) -> ServerCommand:
        """How to start the server for the model in ``folder``; it has to ask for ``self.key``."""

    @abstractmethod
    def post(self, request: Request, room: int, ends: Sequence[int]) -> Post:
        """A request as the server wants it: at most ``room`` tokens, ended by any of the ids ``ends``.

        :raises TunesmithError: it cannot honour a field.
        """

    @abstractmethod
    def read(self, event: Mapping[str, Any]) -> Speech:
        """What an event of its answer says."""

    # -- the engine ----------------------------------------------------------------------------------------------------

    def start(self, plan: Plan) -> None:
        """Start the server, read the tokenizer meanwhile, and wait until the server is ready.

        :raises TunesmithError: the server ended or took too long; with the last lines of its log.
        """
        from tunesmith.runtime.loading import load_tokenizer, model_folder
        from tunesmith.runtime.speaking import speak
        from tunesmith.templates import make_renderer

        speak(plan)
        wish = plan.models["policy"]
        folder = model_folder(plan, str(wish.path))
        port = free_port()
        self._process = ServerProcess(self.name, self.command(plan, folder, port), port)
        log.info("%s starts a server of its own for %s", self.name, wish.path)
        try:
            plugins = Plugins(without=plan.without, only=plan.only, local=Path(plan.local) if plan.local else None)
            tokenizer = load_tokenizer(plan, wish)
            self.renderer = make_renderer(plan, plugins, Path(tokenizer.name_or_path))
            ends, strings = ends_in(folder, tokenizer, self.renderer.stop)
            hidden = hidden_tokens(self.renderer, tokenizer)
            self._words = Words(tokenizer, make_encoder(plan, self.renderer), ends, hidden, strings)
            self._process.wait_ready(self.patience(plan))
        except BaseException:
            self.stop()
            raise

    @property
    def words(self) -> Words:
        """What reads answers.

        :raises TunesmithError: the engine is not running.
        """
        if self._words is None:
            raise TunesmithError("The engine is not running.", "Call start(plan) first.")
        return self._words

    def encode(self, conversation: Conversation) -> tuple[int, ...]:
        """The ids that generation starts from: exactly those that training would have produced."""
        if conversation.media:
            what = f"The engine {self.name} cannot be shown {conversation.media[0].kind}s yet."
            raise TunesmithError(what, "Pick an infer_backend that can.")
        return self.words.encoder.ids(self.renderer.render(conversation, generation_prompt=True))

    def adapters(self) -> tuple[str, ...]:
        """Names of the adapters that requests may ask for."""
        return tuple(self.served.by_name)

    def generate(self, requests: Sequence[Request]) -> Iterator[Delta]:
        """Answer requests, all at once. Closing the iterator hangs up, and the server gives up what still runs.

        :raises TunesmithError: the server cannot honour a field of a request, which it names, or it has ended.
        """
        posts = [self._prepare(request) for request in requests]
        return self._answers(posts)

    def _prepare(self, request: Request) -> tuple[Answer, Post]:
        words, room = self.words, self._room(request)
        check_sampling(request.sampling, self.name, self.most_logprobs)
        if request.adapter is not None and request.adapter not in self.served.by_name:
            known = ", ".join(self.served.by_name) or "none"
            raise TunesmithError(f"There is no adapter {request.adapter!r} to answer with.", f"Adapters here: {known}.")
        letters = Letters(words.tokenizer, words.hidden if request.sampling.skip_special_tokens else frozenset())
        stops = Stops((*words.stop_strings, *request.sampling.stop))
        return Answer(request, letters, stops, words.ends, room), self.post(request, room, sorted(words.ends))

    def _room(self, request: Request) -> int:
        """How many tokens the answer may have."""
        if not request.ids:
            raise TunesmithError(f"Request {request.id!r} has no tokens to continue.", "Encode a conversation first.")
        left = self.context - len(request.ids)
        if left < 1:
            what = f"The prompt has {len(request.ids)} tokens; {self.name} takes sequences of {self.context}."
            raise TunesmithError(what, "Shorten the conversation.")
        return min(request.sampling.max_new_tokens, left)

    def _answers(self, posts: Sequence[tuple[Answer, Post]]) -> Iterator[Delta]:
        process = self._process
        if process is None:
            raise TunesmithError("The engine is not running.", "Call start(plan) first.")
        headers = {"Authorization": f"Bearer {self.key}"}
        talks = AtOnce(lambda: Connection(HOST, process.port, headers), self._talk)
        with self._lock:
            self._running.add(talks)
        try:
            yield from talks.run(posts)
        except (OSError, HTTPException) as error:
            raise self._gone(process, error) from error
        finally:
            with self._lock:
                self._running.discard(talks)
        yield from (answer.cancel() for answer, _ in posts if answer.finish is None)

    def _talk(self, connection: Connection, item: tuple[Answer, Post]) -> Iterator[Delta]:
        answer, post = item
        try:
            for event in connection.events(post):
                yield from hear(answer, self.read(event))
                if answer.finish:
                    return
        except Refused as error:
            what = f"{self.name} refused request {answer.request.id!r}: {error.message}"
            process = self._process
            raise TunesmithError(what) if error.is_ours or process is None else process.fault(what.rstrip(".")) from error

    def _gone(self, process: ServerProcess, error: Exception) -> TunesmithError:
        what = "hung up" if process.runs else "ended"
        return process.fault(f"{self.name} {what} amid an answer ({type(error).__name__})")

    def stop(self) -> None:
        """Break off what runs, as ``cancelled``, and end the server with everything that it started."""
        with self._lock:
            running = list(self._running)
        for talks in running:
            talks.end()
        process, self._process, self._words = self._process, None, None
        if process is not None:
            process.stop()


def hear(answer: Answer, speech: Speech) -> Iterator[Delta]:
    """Take up what the server says, until the answer is at its end."""
    most = answer.request.sampling.logprobs or 0
    for place, token in enumerate(speech.ids):
        told = speech.logprobs[place] if speech.logprobs else None
        yield answer.add(token, replace(told, top=told.top[:most]) if told else None)
        if answer.finish:
            return
    if speech.finish:
        yield answer.end(speech.finish)


def check_sampling(sampling: Sampling, engine: str, most_logprobs: int) -> None:
    """Refuse what no server of this kind can honour.

    :raises TunesmithError: names the field and what it may be.
    """
    wrong = {
        "max_new_tokens": ("at least 1", sampling.max_new_tokens < 1),
        "temperature": ("above 0", sampling.do_sample and sampling.temperature <= 0),
        "top_p": ("above 0 and at most 1", sampling.do_sample and not 0 < sampling.top_p <= 1),
        "top_k": ("0 (all tokens) or more", sampling.top_k < 0),
        "min_p": ("from 0 to 1", not 0 <= sampling.min_p <= 1),
        "num_beams": ("1: it streams, and beams cannot", sampling.num_beams != 1),
        "length_penalty": ("1.0, since it only counts with beams", sampling.length_penalty != 1.0),
        "repetition_penalty": ("above 0", sampling.repetition_penalty <= 0),
        "presence_penalty": ("from -2 to 2", abs(sampling.presence_penalty) > 2),
        "frequency_penalty": ("from -2 to 2", abs(sampling.frequency_penalty) > 2),
        "stop": ("strings that are not empty", "" in sampling.stop),
        "logprobs": (f"from 0 to {most_logprobs}", not 0 <= (sampling.logprobs or 0) <= most_logprobs),
    }
    for name, (may_be, is_wrong) in wrong.items():
        if is_wrong:
            raise TunesmithError(f"{engine} cannot answer with {name} {getattr(sampling, name)!r}.", f"It must be {may_be}.")
