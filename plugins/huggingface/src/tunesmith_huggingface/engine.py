"""The engine ``huggingface``: a model of the run, loaded as training loads it, answering with transformers' ``generate``."""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from tunesmith.contracts import Backend, Delta, Engine, Renderer, Request
from tunesmith.data.conversation import Conversation
from tunesmith.data.tokens import make_encoder
from tunesmith.errors import TunesmithError
from tunesmith.plan import Plan
from tunesmith.plugins import Plugins
from tunesmith.runtime.answer_text import Letters, Stops
from tunesmith.runtime.answering import Answer
from tunesmith.runtime.hidden_tokens import hidden_tokens

from tunesmith_huggingface import sampling
from tunesmith_huggingface.adapters import load_models
from tunesmith_huggingface.jobs import Job, Said, read
from tunesmith_huggingface.loaded import Loaded, limits_of, server_of, vocabulary_of
from tunesmith_huggingface.loop import Loop
from tunesmith_huggingface.picking import Picker
from tunesmith_huggingface.schemas import Schemas
from tunesmith_huggingface.vectors import ROWS, check_embeds, check_rows, check_scores, embed_batch, score_batch

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


T = TypeVar("T")
Ids = Sequence[Sequence[int]]


class HuggingfaceEngine(Engine):
    """Answers requests together, each joining and leaving a batch that runs in a thread of its own."""

    renderer: Renderer

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._loaded: Loaded | None = None

    def start(self, plan: Plan) -> None:
        """Load backend, model, adapters, tokenizer and template.

        :raises TunesmithError: one of them is not there or does not fit.
        """
        from tunesmith.runtime.loading import load_tokenizer
        from tunesmith.runtime.speaking import no_bars, speak
        from tunesmith.templates import make_renderer

        speak(plan)
        plugins = Plugins(without=plan.without, only=plan.only, local=Path(plan.local) if plan.local else None)
        wish = plan.models["policy"]
        backend: Backend = plugins.backends.get(plan.the("backends").wanted).load()(plan)
        tokenizer = load_tokenizer(plan, wish)
        self.renderer = make_renderer(plan, plugins, Path(tokenizer.name_or_path))
        with no_bars():
            models = load_models(plan, plugins, backend)
        model = models[None]
        hidden = hidden_tokens(self.renderer, tokenizer)
        ends, strings = _ends(model, tokenizer, self.renderer.stop)
        servers = {
            name: server_of(one, tokenizer.pad_token_id or 0, use_cache=plan["use_kv_cache"]) for name, one in models.items()
        }
        self._loaded = Loaded(
            servers=servers,
            head=wish.head,
            tokenizer=tokenizer,
            encoder=make_encoder(plan, self.renderer),
            backend=backend,
            ends=ends,
            hidden=hidden,
            stop_strings=strings,
            schemas=Schemas(tokenizer, vocabulary_of(model), sorted(ends)),
            loop=Loop(servers, limits_of(servers[None], backend), self.renderer.media),
        )

    @property
    def loaded(self) -> Loaded:
        """What was loaded.

        :raises TunesmithError: nothing is, or it was given back.
        """
        if self._loaded is None:
            raise TunesmithError("The engine is not running.", "Call start(plan) first.")
        return self._loaded

    def encode(self, conversation: Conversation) -> tuple[int, ...]:
        """The ids that generation starts from: exactly those that training would have produced."""
        return self.loaded.encoder.ids(self.renderer.render(conversation, generation_prompt=True))

    def generate(self, requests: Sequence[Request]) -> Iterator[Delta]:
        """Answer requests, yielding each token as it comes. Closing the iterator ends what is still running.

        A request may fill the model's context and no more; its answer then ends with ``length``.

        :raises TunesmithError: a request has a field that cannot be honoured, names an adapter that is not there, or has a
            prompt that is empty or longer than the model's context.
        """
        for request in requests:
            self._check(request)
        said: Said = queue.SimpleQueue()
        return self._answers([Job(self._answer(request), self._picker(request), said) for request in requests], said)

    def _answers(self, jobs: Sequence[Job], said: Said) -> Iterator[Delta]:
        self.loaded.loop.submit(jobs)
        yield from read(jobs, said)

    def _answer(self, request: Request) -> Answer:
        loaded, wanted = self.loaded, request.sampling
        room = (
            wanted.max_new_tokens if loaded.context is None else min(wanted.max_new_tokens, loaded.context - len(request.ids))
        )
        letters = Letters(loaded.tokenizer, loaded.hidden if wanted.skip_special_tokens else frozenset())
        return Answer(request, letters, Stops((*loaded.stop_strings, *wanted.stop)), loaded.ends, room)

    def _picker(self, request: Request) -> Picker:
        schema = request.sampling.schema
        return Picker(request, None if schema is None else self.loaded.schemas.guide(schema))

    def _check(self, request: Request) -> None:
        loaded = self.loaded
        if loaded.head == "score":
            raise TunesmithError("The model rates texts and writes none.", "Give a model that writes.")
        sampling.check(request.sampling, vocabulary_of(loaded.model))
        if request.adapter not in loaded.servers:
            known = ", ".join(self.adapters()) or "none: serve_adapters: name=path"
            raise TunesmithError(f"There is no adapter {request.adapter!r} to answer with.", f"Here are {known}.")
        if request.media and self.renderer.media is None:
            what = f"Request {request.id!r} holds {request.media[0].kind}s, and this model reads text only."
            raise TunesmithError(what, "Its folder has no processor, or no plugin that reads them is installed.")
        if not request.media and self.renderer.media is not None:
            self.renderer.media.inputs(torch.tensor([request.ids]), ())  # a placeholder that stands for nothing
        if not request.ids:
            raise TunesmithError(f"Request {request.id!r} has no tokens to continue.", "Encode a conversation first.")
        if loaded.context is not None and len(request.ids) >= loaded.context:
            raise TunesmithError(
                f"The prompt has {len(request.ids)} tokens; the model can see {loaded.context}.",
                "Shorten the conversation.",
            )

    def score(self, rows: Sequence[Sequence[int]]) -> list[float]:
        """The reward of each row of token ids, by the model's value head or its only label.

        :raises TunesmithError: the model has none, or a row is empty or longer than the model's context.
        """
        check_scores(self.loaded.model, self.loaded.head)
        return self._by_batches(score_batch, rows)

    def embed(self, rows: Sequence[Sequence[int]]) -> list[list[float]]:
        """A vector of length 1 for each row of token ids: the mean of its last hidden states.

        :raises TunesmithError: a row is empty or longer than the model's context.
        """
        check_embeds(self.loaded.model)
        return self._by_batches(embed_batch, rows)

    def _by_batches(
        self, work: Callable[[Any, Sequence[Sequence[int]], int], list[T]], rows: Sequence[Sequence[int]]
    ) -> list[T]:
        """Rows of about one length together, each batch between two turns of what is being generated."""
        loaded = self.loaded
        check_rows(rows, loaded.context)
        found: dict[int, T] = {}
        order = sorted(range(len(rows)), key=lambda number: len(rows[number]))
        for at in range(0, len(order), ROWS):
            numbers = order[at : at + ROWS]
            batch = [rows[number] for number in numbers]
            done = loaded.loop.call(partial(work, loaded.model, batch, loaded.servers[None].pad))
            found |= zip(numbers, done, strict=True)
        return [found[number] for number in range(len(rows))]

    def adapters(self) -> tuple[str, ...]:
        """Those of ``serve_adapters``."""
        return tuple(name for name in self.loaded.servers if name is not None)

    def sync(self, weights: Iterable[tuple[str, torch.Tensor]]) -> None:
        """Not offered: this engine has a model of its own.

        :raises TunesmithError: always.
        """
        raise TunesmithError(
            "The engine huggingface cannot take over weights while a trainer runs.",
            "Pick another infer_backend for this stage.",
        )

    def stop(self) -> None:
        """End what is running, as ``cancelled``, and give the model back."""
        if self._loaded is not None:
            loaded, self._loaded = self._loaded, None
            loaded.loop.stop()
            loaded.backend.empty_cache()


def _ends(model: Any, tokenizer: PreTrainedTokenizerBase, stop: Sequence[str]) -> tuple[frozenset[int], tuple[str, ...]]:
    """What ends an answer, as token ids and as strings; the model's and the tokenizer's own ends always count."""
    own: Any = getattr(model.generation_config, "eos_token_id", None)
    vocabulary = tokenizer.get_vocab()
    ends = {tokenizer.eos_token_id, *(own if isinstance(own, list) else [own])}
    ends |= {vocabulary[word] for word in stop if word in vocabulary}
    return frozenset(end for end in ends if end is not None), tuple(word for word in stop if word not in vocabulary)
