"""Completions: a text in, how it goes on out. No template takes part."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any

from tunesmith.errors import TunesmithError

from tunesmith_api.errors import bad, event, told
from tunesmith_api.events import DONE
from tunesmith_api.logprobs import completion_logprobs
from tunesmith_api.protocol import CompletionRequest
from tunesmith_api.sampling import blame, sampling_for
from tunesmith_api.service import Job, Said, Service, arrived, count, make_job, usage
from tunesmith_api.vocabulary import Vocabulary


def prepare(service: Service, body: CompletionRequest) -> Job:
    """Check a request and encode its prompts.

    :raises ApiError: names the field that is wrong.
    """
    adapter = service.adapter(body.model)
    sampling = replace(sampling_for(body, service.run, service.vocabulary), logprobs=body.logprobs)
    prompts = list(prompts_of(body.prompt, "prompt", service.vocabulary))
    if len(prompts) * (body.n or 1) > 128:
        raise bad("Prompts times n may be 128 at most.", "n")
    return make_job("cmpl", body, prompts, sampling, adapter)


def prompts_of(given: Any, param: str, vocabulary: Vocabulary) -> Iterator[tuple[int, ...]]:
    """The ids of one or several prompts, each a text or a list of ids.

    :raises ApiError: an id is no token.
    """
    several = given if isinstance(given, list) and given and isinstance(given[0], str | list) else [given]
    for prompt in several:
        ids = vocabulary.prompt(prompt) if isinstance(prompt, str) else tuple(prompt)
        if not ids:
            raise bad("A prompt is empty.", param)
        if wrong := [id_ for id_ in ids if not vocabulary.has(id_)]:
            raise bad(f"{wrong[0]} is no token of this model.", param)
        yield ids


def completion(service: Service, job: Job, answers: Sequence[Said]) -> dict[str, Any]:
    """The answers as OpenAI writes them."""
    choices = []
    for at, said in enumerate(answers):
        logprobs = None
        if job.requests[0].sampling.logprobs is not None:
            logprobs = completion_logprobs(said.logprobs, service.vocabulary)
        choices.append({"index": at, "text": said.text, "logprobs": logprobs, "finish_reason": said.finish})
    return {**_head(job), "choices": choices, "usage": usage(job, answers)}


def _head(job: Job) -> dict[str, Any]:
    return {"id": job.id, "object": "text_completion", "created": job.created, "model": job.body.model}


async def chunks(service: Service, job: Job) -> AsyncIterator[str]:
    """The answers as events."""
    answers = [Said() for _ in job.requests]
    shows = job.requests[0].sampling.logprobs is not None
    shown = [0] * len(answers)
    tail = {"usage": None} if job.wants_usage else {}
    try:
        async with aclosing(service.desk.deltas(job.requests)) as deltas:  # type: ignore[type-var]
            async for delta in deltas:
                arrived(service, job, answers)
                at = int(delta.request)
                answers[at].add(delta)
                if not (delta.text or delta.finish or delta.logprobs):
                    continue
                logprobs = completion_logprobs(delta.logprobs, service.vocabulary, shown[at]) if shows else None
                shown[at] += sum(map(len, logprobs["tokens"])) if logprobs else 0
                choice = {"index": at, "text": delta.text, "logprobs": logprobs, "finish_reason": delta.finish}
                yield event({**_head(job), "choices": [choice], **tail})
    except TunesmithError as error:
        raise blame(told(error), job.body) from error
    count(service, job, answers)
    if job.wants_usage:
        yield event({**_head(job), "choices": [], "usage": usage(job, answers)})
    yield DONE
