"""The socket and the server on it."""

from __future__ import annotations

import asyncio
import signal
import socket
from typing import Any

import h11
import uvicorn
from starlette.types import ASGIApp
from tunesmith.errors import TunesmithError
from uvicorn.protocols.http.h11_impl import H11Protocol

from tunesmith_api.options import ApiOptions

#: Seconds after which a connection is given up whose other side reads nothing.
STALLED = 60
#: Seconds in which the head of a request must arrive.
HEAD = 15.0


def bind(host: str, port: int) -> socket.socket:
    """A socket that nobody else can take, and that refuses connections until the server listens.

    :raises TunesmithError: the address cannot be had.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE | socket.AI_NUMERICSERV
        )[0]
        made = socket.socket(family, kind, protocol)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux; connections inherit it
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, STALLED * 1000)
        made.bind(address)
    except OSError as error:
        what = f"{host}:{port} cannot be listened on: {error.strerror or error}."
        raise TunesmithError(what, "Pick another with api_host and api_port (--port).") from error
    return made


class PatientProtocol(H11Protocol):
    """uvicorn's protocol, which waits for the head of a request only so long."""

    _head: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Begin to wait."""
        super().connection_made(transport)
        self._wait()

    def data_received(self, data: bytes) -> None:
        """Go on waiting while a head is incomplete."""
        super().data_received(data)
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting."""
        super().connection_lost(exc)
        self._stop()

    def _wait(self) -> None:
        if self.conn.their_state is not h11.IDLE:
            self._stop()
        elif self._head is None:
            self._head = self.loop.call_later(HEAD, self._give_up)

    def _stop(self) -> None:
        if self._head is not None:
            self._head.cancel()
            self._head = None

    def _give_up(self) -> None:
        if not self.transport.is_closing():
            self.transport.close()


def serve(app: ASGIApp, listener: socket.socket, options: ApiOptions, ready: Any) -> None:
    """Answer until a signal comes; then refuse what is new and finish what runs, for as long as a request may take.

    :param ready: called once requests are answered.
    """
    config = uvicorn.Config(
        app,
        http=PatientProtocol,
        ws="none",
        lifespan="off",
        access_log=False,
        log_level="warning",
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=options.api_timeout,
        h11_max_incomplete_event_size=65536,
    )
    server = _Server(config, ready)
    # uvicorn raises the signal once more when it is done; this program is to end by itself.
    before = {number: signal.signal(number, lambda *_: None) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        server.run(sockets=[listener])
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, ready: Any) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._ready()
