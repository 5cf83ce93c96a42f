"""Who may ask: the key, and the names this server answers to."""

from __future__ import annotations

import hmac
import time
from collections.abc import Mapping
from logging import getLogger

from starlette.types import ASGIApp, Message, Receive, Scope, Send
from tunesmith.addresses import is_loopback

from tunesmith_api.errors import ApiError
from tunesmith_api.metrics import Metrics
from tunesmith_api.options import ApiOptions
from tunesmith_api.paths import path_of

log = getLogger("tunesmith_api.requests")

#: Pages that say nothing about anybody.
OPEN = ("/health", "/docs", "/docs/oauth2-redirect", "/openapi.json")


class Guard:
    """Refuses requests without the key.

    A server for this machine alone has no need of one; yet a web page that somebody looks at here could reach it by a name of
    its own that leads to 127.0.0.1 (DNS rebinding). So without a key it answers only to the names of this machine.
    """

    def __init__(self, app: ASGIApp, options: ApiOptions) -> None:
        self.app = app
        self.key = options.api_key.encode() if options.api_key else None
        self.root = options.fastapi_root_path
        self.local = self.key is None and is_loopback(options.api_host)
        self.host = options.api_host

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and (refused := self._refused(scope)) is not None:
            await refused.response(scope)(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    def _refused(self, scope: Scope) -> ApiError | None:
        headers = dict(scope["headers"])
        if self.local and not self._is_ours(headers.get(b"host", b"").decode("latin-1")):
            return ApiError(403, "Without an api_key this server answers only to the names of its machine, such as localhost.")
        if self.key is None or path_of(scope) in OPEN:
            return None
        if not hmac.compare_digest(_sent(headers), self.key):
            return ApiError(401, "The key is missing or wrong: send Authorization: Bearer KEY.", code="invalid_api_key")
        return None

    def _is_ours(self, host: str) -> bool:
        name = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
        return name == self.host or is_loopback(name)


def _sent(headers: Mapping[bytes, bytes]) -> bytes:
    kind, _, key = headers.get(b"authorization", b"").partition(b" ")
    return key.strip() if kind.lower() == b"bearer" else headers.get(b"x-api-key", b"")


class Recorder:
    """Counts every request and, where wanted, logs a line for it: never what is in it."""

    def __init__(self, app: ASGIApp, metrics: Metrics, known: frozenset[str], verbose: bool) -> None:
        self.app = app
        self.metrics = metrics
        self.known = known
        self.verbose = verbose

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began, status = time.monotonic(), 499

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, watched)
        finally:
            seconds = time.monotonic() - began
            path = path_of(scope)
            label = path if path in self.known else "other"
            self.metrics.requests.labels(label, str(status)).inc()
            self.metrics.seconds.labels(label).observe(seconds)
            if self.verbose:
                log.info("%s %s %s %.3f s", scope["method"], label, status, seconds)
