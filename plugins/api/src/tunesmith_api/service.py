"""What every endpoint works with: the engine, who may be asked for, and how answers are read."""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tunesmith.contracts import Delta, Engine, Request, Sampling, TokenLogprob
from tunesmith.data.conversation import Media
from tunesmith.data.tokens import make_encoder
from tunesmith.dialogue import sampling_of
from tunesmith.errors import TunesmithError
from tunesmith.plan import Plan

from tunesmith_api.answering import Desk
from tunesmith_api.errors import ApiError, told
from tunesmith_api.gate import Gate
from tunesmith_api.marks import Marks, find_marks
from tunesmith_api.metrics import Metrics
from tunesmith_api.options import ApiOptions
from tunesmith_api.protocol import Generation
from tunesmith_api.sampling import blame, numbered
from tunesmith_api.vocabulary import Vocabulary


@dataclass(frozen=True)
class Service:
    """One server's parts. ``names``: what clients may ask for → the adapter that answers, ``None`` for the model itself."""

    engine: Engine
    options: ApiOptions
    run: Sampling
    names: Mapping[str, str | None]
    vocabulary: Vocabulary
    metrics: Metrics
    desk: Desk
    created: int

    def marks(self, thinking: bool | None) -> Marks:
        """What to look for in answers to requests that ask to think, or not to, or leave it to the run."""
        return find_marks(self.engine.renderer, thinking)

    def adapter(self, model: str) -> str | None:
        """Which adapter answers for ``model``.

        :raises ApiError: status 404, there is no such model.
        """
        if model not in self.names:
            known = ", ".join(self.names)
            raise ApiError(404, f"There is no model {model!r} here. There is: {known}.", "model", "model_not_found")
        return self.names[model]


def make_service(plan: Plan, engine: Engine) -> Service:
    """The service of an engine that runs.

    :raises TunesmithError: an adapter has the name of the model.
    """
    options, metrics = plan.options(ApiOptions), Metrics()
    gate = Gate(options.max_concurrent, options.api_queue)
    metrics.watch(lambda: gate.running, lambda: gate.waiting)
    adapters = engine.adapters()
    if options.api_model_name in adapters:
        name = options.api_model_name
        raise TunesmithError(f"The model and an adapter are both called {name!r}.", "Give one of them another name.")
    return Service(
        engine,
        options,
        sampling_of(plan),
        {options.api_model_name: None, **{name: name for name in adapters}},
        Vocabulary(make_encoder(plan, engine.renderer)),
        metrics,
        Desk(engine, gate, metrics, options.api_timeout),
        int(time.time()),
    )


@dataclass
class Said:
    """One answer as far as it has come."""

    texts: list[str] = field(default_factory=list)
    ids: list[int] = field(default_factory=list)
    finish: str = "length"
    logprobs: list[TokenLogprob] = field(default_factory=list)

    def add(self, delta: Delta) -> None:
        """Take up what came."""
        self.texts.append(delta.text)
        self.ids.extend(delta.ids)
        self.logprobs.extend(delta.logprobs)
        self.finish = delta.finish or self.finish

    @property
    def count(self) -> int:
        """How many tokens."""
        return len(self.ids)

    @property
    def text(self) -> str:
        """All that was said."""
        return "".join(self.texts)


@dataclass(frozen=True)
class Job:
    """One request of a client, and what it comes to for the engine; ``requests`` have their answers' numbers as ids."""

    id: str
    body: Generation
    requests: tuple[Request, ...]
    prompt_tokens: int
    created: int = field(default_factory=lambda: int(time.time()))
    began: float = field(default_factory=time.monotonic)

    @property
    def wants_usage(self) -> bool:
        """Whether a stream ends with the number of tokens."""
        return bool(self.body.stream_options and self.body.stream_options.include_usage)


def make_job(
    kind: str,
    body: Generation,
    prompts: Sequence[tuple[int, ...]],
    sampling: Sampling,
    adapter: str | None,
    media: tuple[Media, ...] = (),
) -> Job:
    """A job that answers each prompt as often as ``n`` says. ``media``: what is seen in the only prompt."""
    count = body.n or 1
    rows = [ids for ids in prompts for _ in range(count)]
    requests = tuple(Request(str(at), ids, numbered(sampling, at % count), adapter, media) for at, ids in enumerate(rows))
    return Job(f"{kind}-{uuid.uuid4().hex}", body, requests, sum(map(len, prompts)))


async def answer(service: Service, job: Job) -> list[Said]:
    """Every answer of a job, whole.

    :raises ApiError: names the field that the engine cannot honour, where that is why.
    """
    answers = [Said() for _ in job.requests]

    def see(delta: Delta) -> None:
        arrived(service, job, answers)
        answers[int(delta.request)].add(delta)

    try:
        await service.desk.whole(job.requests, see)
    except TunesmithError as error:
        raise blame(told(error), job.body) from error
    count(service, job, answers)
    return answers


def arrived(service: Service, job: Job, answers: Sequence[Said]) -> None:
    """Note how long the first token took, once."""
    if not any(said.count for said in answers):
        service.metrics.first.observe(time.monotonic() - job.began)


def count(service: Service, job: Job, answers: Sequence[Said]) -> None:
    """Count the tokens of a job that is done."""
    service.metrics.tokens.labels("prompt").inc(job.prompt_tokens)
    service.metrics.tokens.labels("answer").inc(sum(said.count for said in answers))


def usage(job: Job, answers: Sequence[Said]) -> dict[str, int]:
    """The tokens of a job, as OpenAI tells them."""
    written = sum(said.count for said in answers)
    return {
        "prompt_tokens": job.prompt_tokens,
        "completion_tokens": written,
        "total_tokens": job.prompt_tokens + written,
    }
