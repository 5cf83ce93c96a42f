"""Messages: a conversation in, its next turn out, whole or as it comes."""

from __future__ import annotations

import json
import uuid
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any

from tunesmith.data.conversation import Call, Media
from tunesmith.errors import TunesmithError

from tunesmith_api.anthropic.protocol import Counted, MessagesRequest, ThinkingOn
from tunesmith_api.anthropic.reading import choice_of, conversation_of
from tunesmith_api.chat import Chat, encoded
from tunesmith_api.errors import bad, event, told
from tunesmith_api.media import MediaDesk
from tunesmith_api.protocol import Generation
from tunesmith_api.reading import News
from tunesmith_api.sampling import blame, sampling_for
from tunesmith_api.service import Said, Service, arrived, count, make_job
from tunesmith_api.tool_choice import Choice

#: What each kind of block begins with.
EMPTY: Mapping[str, Mapping[str, Any]] = {"thinking": {"thinking": "", "signature": ""}, "text": {"text": ""}}


def prepare(service: Service, body: MessagesRequest) -> Chat:
    """Check a request and encode its conversation.

    :raises ApiError: names the field that is wrong.
    """
    adapter = service.adapter(body.model)
    if isinstance(body.thinking, ThinkingOn) and body.thinking.budget_tokens >= body.max_tokens:
        raise bad("budget_tokens must be below max_tokens, which thought and answer share.", "thinking.budget_tokens")
    same = ("model", "max_tokens", "temperature", "top_k", "top_p")
    plain = Generation(**{name: getattr(body, name) for name in same}, stop=body.stop_sequences or None)
    ids, choice, thinking, media = _encoded(service, body)
    sampling = replace(sampling_for(plain, service.run, service.vocabulary), schema=choice.schema)
    return Chat(make_job("msg", plain, [ids], sampling, adapter, media), choice, service, thinking)


def count_tokens(service: Service, body: Counted) -> int:
    """How many tokens the conversation of a request has."""
    service.adapter(body.model)
    return len(_encoded(service, body)[0])


def _encoded(service: Service, body: Counted) -> tuple[tuple[int, ...], Choice, bool | None, tuple[Media, ...]]:
    choice = choice_of(body)
    with MediaDesk(service.options) as media:
        conversation = media.kept(conversation_of(body, choice, media))
    return encoded(service, conversation), choice, conversation.thinking, conversation.media


def message(chat: Chat, said: Said) -> dict[str, Any]:
    """The answer as Anthropic writes it."""
    news = chat.reader().whole(said.text)
    blocks = [{"type": "thinking", "thinking": news.thought, "signature": ""}] if news.thought else []
    blocks += [{"type": "text", "text": news.words}] if news.words else []
    blocks += [_call(call) for call in news.calls]
    return {**_head(chat, said.count), "content": blocks, **_ending(chat, said, bool(news.calls))}


def _head(chat: Chat, written: int) -> dict[str, Any]:
    return {
        "id": chat.job.id.replace("-", "_"),
        "type": "message",
        "role": "assistant",
        "model": chat.job.body.model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": _usage(chat, written),
    }


def _usage(chat: Chat, written: int) -> dict[str, int]:
    cached = {"cache_creation_input_tokens": 0, "cache_read_input_tokens": 0}
    return {"input_tokens": chat.job.prompt_tokens, "output_tokens": written, **cached}


def _call(call: Call) -> dict[str, Any]:
    return {"type": "tool_use", "id": call.id or f"toolu_{uuid.uuid4().hex[:24]}", "name": call.name, "input": call.arguments}


def _ending(chat: Chat, said: Said, called: bool) -> dict[str, Any]:
    """Why the answer ended. An engine says no more than that it stopped; the tokens tell by which sequence."""
    if called:
        return {"stop_reason": "tool_use", "stop_sequence": None}
    if said.finish == "length":
        return {"stop_reason": "max_tokens", "stop_sequence": None}
    text = chat.service.vocabulary.decoded(said.ids)
    found = [(text.find(stop), stop) for stop in chat.job.requests[0].sampling.stop if stop in text]
    return {"stop_reason": "stop_sequence" if found else "end_turn", "stop_sequence": min(found)[1] if found else None}


# ---- as it comes -----------------------------------------------------------------------------------------------------


async def events(chat: Chat) -> AsyncIterator[str]:
    """The answer as events, the first of them once there is a first token."""
    service, job = chat.service, chat.job
    said, stream = Said(), _Stream(chat)
    try:
        async with aclosing(service.desk.deltas(job.requests)) as deltas:  # type: ignore[type-var]
            async for delta in deltas:
                arrived(service, job, [said])
                said.add(delta)
                for one in stream.add(delta.text, delta.finish is not None):
                    yield one
    except TunesmithError as error:
        raise blame(told(error), job.body) from error
    count(service, job, [said])
    for one in stream.end(said):
        yield one


@dataclass
class _Stream:
    """One answer as a stream of blocks, of which one at a time is open."""

    chat: Chat
    begun: bool = False
    called: bool = False
    open: str = ""
    index: int = -1

    def __post_init__(self) -> None:
        self.reader = self.chat.reader()

    def add(self, text: str, last: bool) -> Iterable[str]:
        """The events that became due."""
        if not self.begun:
            self.begun = True
            yield _event("message_start", message=_head(self.chat, 0))
        yield from self._news(self.reader.add(text))
        if last:
            yield from self._news(self.reader.end())

    def end(self, said: Said) -> Iterable[str]:
        """The last events."""
        yield from self._close()
        ending = _ending(self.chat, said, self.called)
        yield _event("message_delta", delta=ending, usage=_usage(self.chat, said.count))
        yield _event("message_stop")

    def _news(self, news: News) -> Iterator[str]:
        if news.thought:
            yield from self._part("thinking", news.thought)
        if news.words:
            yield from self._part("text", news.words)
        for call in news.calls:
            self.called = True
            block = _call(call)
            yield from self._begin({**block, "input": {}})
            arguments = json.dumps(block["input"], ensure_ascii=False)
            yield self._delta({"type": "input_json_delta", "partial_json": arguments})

    def _part(self, kind: str, text: str) -> Iterator[str]:
        if self.open != kind:
            yield from self._begin({"type": kind, **EMPTY[kind]})
        yield self._delta({"type": f"{kind}_delta", kind: text})

    def _begin(self, block: Mapping[str, Any]) -> Iterator[str]:
        yield from self._close()
        self.index += 1
        self.open = block["type"]
        yield _event("content_block_start", index=self.index, content_block=block)

    def _delta(self, delta: Mapping[str, Any]) -> str:
        return _event("content_block_delta", index=self.index, delta=delta)

    def _close(self) -> Iterator[str]:
        if self.open:
            self.open = ""
            yield _event("content_block_stop", index=self.index)


def _event(kind: str, **fields: Any) -> str:
    return event({"type": kind, **fields}, kind)
