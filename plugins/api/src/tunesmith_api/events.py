"""Answers as server-sent events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from tunesmith_api.answering import ClientGone, unless_gone
from tunesmith_api.errors import told
from tunesmith_api.metrics import Metrics

DONE = "data: [DONE]\n\n"


class EventStream(Response):
    """Sends events while they come. What goes wrong before the first of them is answered with a status of its own.

    :param seconds: for all of it, a slow reader included.
    """

    media_type = "text/event-stream"

    def __init__(self, events: AsyncIterator[str], metrics: Metrics, seconds: float) -> None:
        self.status_code = 200
        self.background = None
        self.events = events
        self.metrics = metrics
        self.seconds = seconds
        self.init_headers({"Cache-Control": "no-cache", "X-Accel-Buffering": "no"})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await unless_gone(receive, self._stream(scope, send), self.metrics)
        except ClientGone:
            return

    async def _stream(self, scope: Scope, send: Send) -> None:
        started = False
        try:
            async with asyncio.timeout(self.seconds), aclosing(self.events) as events:  # type: ignore[type-var]
                async for text in events:
                    if not started:
                        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
                        started = True
                    await _send(send, text)
        except Exception as error:
            if not started:
                raise
            async with asyncio.timeout(5):
                await _send(send, told(error).event(scope))
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _send(send: Send, text: str) -> None:
    await send({"type": "http.response.body", "body": text.encode(), "more_body": True})
