"""Chat completions: a conversation in, its next turn out, whole or as it comes."""

from __future__ import annotations

import json
import uuid
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any

from tunesmith.contracts import TokenLogprob
from tunesmith.data.conversation import Call, Conversation
from tunesmith.data.openai_messages import conversation_from_openai
from tunesmith.errors import TunesmithError

from tunesmith_api.errors import bad, event, told
from tunesmith_api.events import DONE
from tunesmith_api.logprobs import chat_logprobs
from tunesmith_api.media import MediaDesk
from tunesmith_api.protocol import ChatRequest, Message
from tunesmith_api.reading import News, Reader
from tunesmith_api.sampling import blame, sampling_for
from tunesmith_api.service import Job, Said, Service, arrived, count, make_job, usage
from tunesmith_api.tool_choice import Choice, choose


@dataclass(frozen=True)
class Chat:
    """A chat request that can be answered."""

    job: Job
    choice: Choice
    service: Service
    thinking: bool | None = None

    def reader(self) -> Reader:
        """Reads one of its answers."""
        return Reader(self.service.engine.renderer, self.service.marks(self.thinking), self.choice)

    @property
    def shows_logprobs(self) -> bool:
        """Whether answers come with log-probabilities."""
        return self.job.requests[0].sampling.logprobs is not None


def prepare(service: Service, body: ChatRequest) -> Chat:
    """Check a request and encode its conversation.

    :raises ApiError: names the field that is wrong.
    """
    adapter = service.adapter(body.model)
    choice = choose(body)
    sampling = replace(sampling_for(body, service.run, service.vocabulary), schema=choice.schema, logprobs=_alternatives(body))
    if body.max_completion_tokens is not None:
        if body.max_tokens is not None and body.max_tokens != body.max_completion_tokens:
            raise bad("max_tokens and max_completion_tokens differ; send one of them.", "max_tokens")
        sampling = replace(sampling, max_new_tokens=body.max_completion_tokens)
    with MediaDesk(service.options) as media:
        conversation = media.kept(_conversation(body, choice, media))
    job = make_job("chatcmpl", body, [encoded(service, conversation)], sampling, adapter, conversation.media)
    return Chat(job, choice, service, conversation.thinking)


def encoded(service: Service, conversation: Conversation) -> tuple[int, ...]:
    """The ids that an answer starts from.

    :raises ApiError: the template cannot express the conversation, or what it asks for.
    """
    try:
        return service.engine.encode(conversation)
    except TunesmithError as error:
        field = error.message.partition(":")[0]
        named = field if field in ("reasoning_effort", "thinking") else "messages"
        raise bad(f"{error.message} {error.hint}".strip(), named) from error


def _alternatives(body: ChatRequest) -> int | None:
    if body.top_logprobs is not None and not body.logprobs:
        raise bad("top_logprobs needs logprobs: true.", "top_logprobs")
    return (body.top_logprobs or 0) if body.logprobs else None


def _conversation(body: ChatRequest, choice: Choice, media: MediaDesk) -> Conversation:
    messages = [_plain(message, at, media) for at, message in enumerate(body.messages)]
    conversation = conversation_from_openai(messages, list(choice.tools))
    if body.reasoning_effort == "none":
        return replace(conversation, thinking=False)
    return replace(conversation, effort=body.reasoning_effort)


def _plain(message: Message, at: int, media: MediaDesk) -> dict[str, Any]:
    """A message as data, its media as files."""
    plain = message.model_dump(exclude_none=True, exclude={"refusal", "annotations", "audio"})
    if isinstance(message.content, list):
        if not message.content:
            raise bad("The content has no parts.", f"messages[{at}].content")
        plain["content"] = [
            _part(part, f"messages[{at}].content[{number}]", media) for number, part in enumerate(plain["content"])
        ]
    return plain


def _part(part: Mapping[str, Any], place: str, media: MediaDesk) -> dict[str, Any]:
    kind, url, _ = str(part["type"]).partition("_url")
    if url:
        return {"type": kind, kind: str(media.file(part[f"{kind}_url"]["url"], kind, place))}
    return {"type": "text", "text": part.get("text", part.get("refusal"))}


# ---- whole -----------------------------------------------------------------------------------------------------------


def completion(chat: Chat, answers: Sequence[Said]) -> dict[str, Any]:
    """The answers as OpenAI writes them."""
    return {
        **_head(chat, "chat.completion"),
        "choices": [_choice(chat, at, said) for at, said in enumerate(answers)],
        "usage": usage(chat.job, answers),
    }


def _head(chat: Chat, kind: str) -> dict[str, Any]:
    return {"id": chat.job.id, "object": kind, "created": chat.job.created, "model": chat.job.body.model}


def _choice(chat: Chat, at: int, said: Said) -> dict[str, Any]:
    news = chat.reader().whole(said.text)
    message: dict[str, Any] = {"role": "assistant", "content": news.words or (None if news.calls else ""), "refusal": None}
    if news.thought:
        message["reasoning_content"] = news.thought
    if news.calls:
        message["tool_calls"] = [_call(call) for call in news.calls]
    return {"index": at, "message": message, "logprobs": _logprobs(chat, said.logprobs), "finish_reason": _finish(said, news)}


def _call(call: Call) -> dict[str, Any]:
    """A call with an id, the model's own or one that every template takes."""
    function = {"name": call.name, "arguments": json.dumps(call.arguments, ensure_ascii=False)}
    return {"id": call.id or uuid.uuid4().hex[:9], "type": "function", "function": function}


def _finish(said: Said, news: News) -> str:
    return "tool_calls" if news.calls else said.finish


def _logprobs(chat: Chat, found: Iterable[TokenLogprob]) -> dict[str, Any] | None:
    return chat_logprobs(found, chat.service.vocabulary) if chat.shows_logprobs else None


# ---- as it comes -----------------------------------------------------------------------------------------------------


async def chunks(chat: Chat) -> AsyncIterator[str]:
    """The answers as events, the first of them once there is a first token."""
    service, job = chat.service, chat.job
    answers = [Said() for _ in job.requests]
    streams = [_Stream(chat, at) for at in range(len(answers))]
    try:
        async with aclosing(service.desk.deltas(job.requests)) as deltas:  # type: ignore[type-var]
            async for delta in deltas:
                arrived(service, job, answers)
                at = int(delta.request)
                answers[at].add(delta)
                for one in streams[at].add(delta.text, delta.logprobs, delta.finish):
                    yield one
    except TunesmithError as error:
        raise blame(told(error), job.body) from error
    count(service, job, answers)
    if job.wants_usage:
        yield event({**_head(chat, "chat.completion.chunk"), "choices": [], "usage": usage(job, answers)})
    yield DONE


class _Stream:
    """One answer as a stream of chunks."""

    def __init__(self, chat: Chat, at: int) -> None:
        self._chat = chat
        self._at = at
        self._reader = chat.reader()
        self._logprobs: list[TokenLogprob] = []
        self._calls = 0
        self._begun = False

    def add(self, text: str, logprobs: Sequence[TokenLogprob], finish: str | None) -> Iterable[str]:
        """The chunks that became due."""
        if not self._begun:
            self._begun = True
            yield self._chunk({"role": "assistant", "content": ""})
        self._logprobs.extend(logprobs)
        yield from self._news(self._reader.add(text))
        if finish is not None:
            yield from self._news(self._reader.end())
            yield self._chunk({}, "tool_calls" if self._calls else finish)

    def _news(self, news: News) -> Iterable[str]:
        if news.thought:
            yield self._chunk({"reasoning_content": news.thought})
        if news.words:
            yield self._chunk({"content": news.words})
        for call in news.calls:
            yield self._chunk({"tool_calls": [{"index": self._calls, **_call(call)}]})
            self._calls += 1

    def _chunk(self, delta: Mapping[str, Any], finish: str | None = None) -> str:
        logprobs = _logprobs(self._chat, self._logprobs) if self._logprobs else None
        self._logprobs = []
        choice = {"index": self._at, "delta": delta, "logprobs": logprobs, "finish_reason": finish}
        body = {**_head(self._chat, "chat.completion.chunk"), "choices": [choice]}
        return event({**body, "usage": None} if self._chat.job.wants_usage else body)
