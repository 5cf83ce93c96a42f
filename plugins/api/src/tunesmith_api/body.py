"""Bodies are read whole before anybody looks at them: no larger, no slower and no more of them at once than is good."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tunesmith_api.errors import ApiError, bad

#: How many bodies of the largest size may be in memory at once.
AT_ONCE = 8
#: Seconds in which a body must arrive.
SECONDS = 60.0
#: Seconds in which the rest of a refused body is thrown away.
LINGER = 5.0


class BodyLimits:
    """Refuses bodies of more than ``most`` bytes, or that do not arrive in time."""

    def __init__(self, app: ASGIApp, most: int, seconds: float = SECONDS) -> None:
        self.app = app
        self.most = most
        self.seconds = seconds
        self.held = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        incoming = _Incoming(receive)
        try:
            self._check_announced(dict(scope["headers"]).get(b"content-length", b"0"))
            async with asyncio.timeout(self.seconds):
                await self._read(incoming)
        except TimeoutError:
            await ApiError(408, "The request did not arrive in time.").response(scope)(scope, receive, send)
        except ApiError as error:
            await incoming.drop(AT_ONCE * self.most)
            await error.response(scope)(scope, receive, send)
        else:
            if not incoming.gone:
                await self.app(scope, incoming.again, send)
        finally:
            self.held -= len(incoming.body)

    def _check_announced(self, length: bytes) -> None:
        if not length.isdigit():
            raise bad("Content-Length is no number.")
        if int(length) > self.most:
            raise self._too_large()

    async def _read(self, incoming: _Incoming) -> None:
        while incoming.more:
            chunk = await incoming.next()
            if len(incoming.body) + len(chunk) > self.most:
                raise self._too_large()
            incoming.body += chunk
            self.held += len(chunk)
            if self.held > AT_ONCE * self.most:
                raise ApiError(429, "Too much is being sent at once. Try again later.", None, "overloaded", 1)

    def _too_large(self) -> ApiError:
        return ApiError(413, f"A request may have {self.most} bytes here (api_max_body).", code="request_too_large")


class _Incoming:
    """One body on its way. ``more`` is to come; ``gone``: its sender left."""

    def __init__(self, receive: Receive) -> None:
        self.body = bytearray()
        self.more = True
        self.gone = False
        self._receive = receive
        self._given = False

    async def next(self) -> bytes:
        """The next part."""
        message = await self._receive()
        self.gone = message["type"] == "http.disconnect"
        self.more = bool(message.get("more_body", False))
        return bytes(message.get("body", b""))

    async def drop(self, most: int) -> None:
        """Throw away what is still being sent, for a while: most clients read no answer before they have sent it all."""
        with suppress(TimeoutError):
            async with asyncio.timeout(LINGER):
                while self.more and most > 0:
                    most -= len(await self.next())

    async def again(self) -> Message:
        """The whole body at once, and then whatever else comes."""
        if self._given:
            return await self._receive()
        self._given = True
        return {"type": "http.request", "body": bytes(self.body), "more_body": False}
