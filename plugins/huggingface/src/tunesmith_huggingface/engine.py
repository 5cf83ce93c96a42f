"""The engine ``huggingface``: a model of the run, loaded as training loads it, answering with transformers' ``generate``."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from transformers import LogitsProcessorList
from tunesmith.contracts import Backend, Delta, Engine, Renderer, Request, Sampling
from tunesmith.data.conversation import Conversation
from tunesmith.data.tokens import Encoder, make_encoder
from tunesmith.errors import TunesmithError
from tunesmith.plan import Plan
from tunesmith.plugins import Plugins
from tunesmith.runtime.answer_text import Letters, Stops
from tunesmith.runtime.answering import Answer
from tunesmith.runtime.hidden_tokens import hidden_tokens

from tunesmith_huggingface import sampling
from tunesmith_huggingface.batch import Cancelled, Chooser, Say, Watcher, in_thread
from tunesmith_huggingface.picking import Picker

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


@dataclass(frozen=True)
class Loaded:
    """What :meth:`HuggingfaceEngine.start` brought in. ``ends`` are token ids that end an answer, ``hidden`` are not shown."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    encoder: Encoder
    backend: Backend
    ends: frozenset[int]
    hidden: frozenset[int]
    stop_strings: tuple[str, ...]

    @property
    def pad(self) -> int:
        """The id that fills rows up; masked, so any will do where the tokenizer has none."""
        return self.tokenizer.pad_token_id or 0

    @property
    def context(self) -> int | None:
        """How many tokens the model can see, where its configuration says."""
        limit: int | None = getattr(self.model.config.get_text_config(), "max_position_embeddings", None)
        return limit


class HuggingfaceEngine(Engine):
    """Answers requests by ``generate``, those with the same sampling as one padded batch.

    Adapters of the plan are on top of the model as it was trained; single requests cannot ask for others.
    """

    renderer: Renderer

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._loaded: Loaded | None = None
        self._turn = threading.Lock()
        self._running: set[threading.Event] = set()

    def start(self, plan: Plan) -> None:
        """Load backend, model, adapters, tokenizer and template.

        :raises TunesmithError: one of them is not there or does not fit.
        """
        from tunesmith.runtime.loading import load_model, load_tokenizer
        from tunesmith.runtime.speaking import no_bars, speak
        from tunesmith.templates import make_renderer

        speak(plan)
        plugins = Plugins(without=plan.without, only=plan.only, local=Path(plan.local) if plan.local else None)
        wish = plan.models["policy"]
        backend: Backend = plugins.backends.get(plan.the("backends").wanted).load()(plan)
        tokenizer = load_tokenizer(plan, wish)
        self.renderer = make_renderer(plan, plugins, Path(tokenizer.name_or_path))
        with no_bars():
            model = load_model(plan, plugins, wish, backend, training=False)
        hidden = hidden_tokens(self.renderer, tokenizer)
        ends, strings = _ends(model, tokenizer, self.renderer.stop)
        self._loaded = Loaded(model, tokenizer, make_encoder(plan, self.renderer), backend, ends, hidden, strings)

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
        return self._answers(_batches(requests))

    def _answers(self, batches: Sequence[Sequence[Request]]) -> Iterator[Delta]:
        for batch in batches:
            yield from self._run(batch)

    def _run(self, batch: Sequence[Request]) -> Iterator[Delta]:
        answers = [self._answer(request) for request in batch]
        cancelled = threading.Event()
        self._running.add(cancelled)
        work = self._beams if batch[0].sampling.num_beams > 1 else self._tokens
        try:
            yield from in_thread(lambda say: work(answers, say, cancelled), cancelled)
        finally:
            self._running.discard(cancelled)
        yield from (answer.cancel() for answer in answers if answer.finish is None)

    def _tokens(self, answers: Sequence[Answer], say: Say, cancelled: threading.Event) -> None:
        pickers = [Picker(answer.request) for answer in answers]
        self._generate(answers, Watcher(answers, pickers, say, cancelled), [Chooser(answers, pickers)])

    def _beams(self, answers: Sequence[Answer], say: Say, cancelled: threading.Event) -> None:
        best = self._generate(answers, Cancelled(cancelled), [])
        if not cancelled.is_set():
            for answer, row in zip(answers, best.tolist(), strict=True):
                for token in row:
                    if answer.finish is None:
                        say(answer.add(token))

    def _generate(self, answers: Sequence[Answer], criterion: Any, choosers: list[Chooser]) -> torch.Tensor:
        """New tokens of every row: (rows, new length)."""
        loaded, first = self.loaded, answers[0].request.sampling
        sampling_ = first if first.num_beams > 1 else Sampling(repetition_penalty=1.0, do_sample=False)
        device = next(loaded.model.parameters()).device
        pad = loaded.pad
        ids, mask = _padded([answer.request.ids for answer in answers], pad)
        room = max(answer.room for answer in answers)
        with self._turn, torch.inference_mode():
            rows = loaded.model.generate(
                input_ids=ids.to(device),
                attention_mask=mask.to(device),
                generation_config=sampling.configuration(sampling_, room, sorted(loaded.ends), pad, self.plan["use_kv_cache"]),
                logits_processor=LogitsProcessorList(choosers),
                stopping_criteria=[criterion],
            )
        new: torch.Tensor = rows[:, ids.shape[1] :]
        return new

    def _answer(self, request: Request) -> Answer:
        loaded, wanted = self.loaded, request.sampling
        room = (
            wanted.max_new_tokens if loaded.context is None else min(wanted.max_new_tokens, loaded.context - len(request.ids))
        )
        letters = Letters(loaded.tokenizer, loaded.hidden if wanted.skip_special_tokens else frozenset())
        return Answer(request, letters, Stops((*loaded.stop_strings, *wanted.stop)), loaded.ends, room)

    def _check(self, request: Request) -> None:
        sampling.check(request.sampling, self.loaded.model.config.get_text_config().vocab_size)
        if request.adapter is not None:
            raise TunesmithError(
                f"There is no adapter {request.adapter!r} to answer with.",
                "This engine answers with the adapters of adapter_name_or_path; leave the request's adapter out.",
            )
        if not request.ids:
            raise TunesmithError(f"Request {request.id!r} has no tokens to continue.", "Encode a conversation first.")
        if self.loaded.context is not None and len(request.ids) >= self.loaded.context:
            raise TunesmithError(
                f"The prompt has {len(request.ids)} tokens; the model can see {self.loaded.context}.",
                "Shorten the conversation.",
            )

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
        for cancelled in list(self._running):
            cancelled.set()
        if self._loaded is not None:
            backend, self._loaded = self._loaded.backend, None
            backend.empty_cache()


def _ends(model: Any, tokenizer: PreTrainedTokenizerBase, stop: Sequence[str]) -> tuple[frozenset[int], tuple[str, ...]]:
    """What ends an answer, as token ids and as strings; the model's and the tokenizer's own ends always count."""
    own: Any = getattr(model.generation_config, "eos_token_id", None)
    vocabulary = tokenizer.get_vocab()
    ends = {tokenizer.eos_token_id, *(own if isinstance(own, list) else [own])}
    ends |= {vocabulary[word] for word in stop if word in vocabulary}
    return frozenset(end for end in ends if end is not None), tuple(word for word in stop if word not in vocabulary)


def _batches(requests: Sequence[Request]) -> list[list[Request]]:
    """All together, but for beam searches: those whose samplings differ in nothing but seed and stop strings."""
    batches: dict[Sampling | None, list[Request]] = {}
    for request in requests:
        wanted = replace(request.sampling, seed=None, stop=(), skip_special_tokens=True)
        batches.setdefault(wanted if wanted.num_beams > 1 else None, []).append(request)
    return list(batches.values())


def _padded(rows: Sequence[Sequence[int]], pad: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids with padding on the left, and the mask that hides it: (rows, longest) each."""
    length = max(map(len, rows))
    ids = torch.tensor([[pad] * (length - len(row)) + list(row) for row in rows])
    mask = torch.tensor([[0] * (length - len(row)) + [1] * len(row) for row in rows])
    return ids, mask
