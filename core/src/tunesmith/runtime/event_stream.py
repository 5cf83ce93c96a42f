"""Many requests to one server at once, each answered by a stream of server-sent events (WHATWG HTML, 9.2)."""

from __future__ import annotations

import http.client
import json
import queue
import socket
import threading
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from tunesmith.errors import TunesmithError

T = TypeVar("T")
#: How many requests are on their way at once; a server queues them as it likes.
WIDTH = 128


@dataclass(frozen=True)
class Post:
    """A request with a JSON body."""

    path: str
    body: Mapping[str, Any]


class Refused(TunesmithError):
    """The server answered with an error. ``status``: that of HTTP, or the code of an error that came amid events."""

    @property
    def is_ours(self) -> bool:
        """Whether the request was wrong, and not the server."""
        return 400 <= self.status < 500

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Connection:
    """One connection to a server. :meth:`close` may be called by another thread and ends what is being read."""

    def __init__(self, host: str, port: int, headers: Mapping[str, str]) -> None:
        self._connection = http.client.HTTPConnection(host, port)
        self._headers = {**headers, "Content-Type": "application/json", "Accept": "text/event-stream"}
        self._socket: socket.socket | None = None
        self._closed = False

    def events(self, post: Post) -> Iterator[Mapping[str, Any]]:
        """The JSON objects that answer a request, as they come.

        :raises Refused: the server has something against the request, or says amid the events that it failed.
        :raises OSError: the server is gone. So does ``http.client.HTTPException``.
        """
        self._connection.connect()
        self._socket = self._connection.sock
        if self._closed:
            raise http.client.NotConnected("closed before it began")
        self._connection.request("POST", post.path, json.dumps(post.body), self._headers)
        answer = self._connection.getresponse()
        if answer.status != http.HTTPStatus.OK:
            raise Refused(answer.status, message_in(answer.read()))
        finished = False
        for line in answer:
            if line.startswith(b"data:"):
                data = line[5:].strip()
                finished = data == b"[DONE]"
                if finished:
                    break
                yield _event(data)
        if not finished:
            raise http.client.IncompleteRead(b"")

    def close(self) -> None:
        """Hang up; a server that is asked for tokens stops making them."""
        self._closed = True
        if self._socket is not None:
            with suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)
        self._connection.close()


def _event(data: bytes) -> Mapping[str, Any]:
    event: Mapping[str, Any] = json.loads(data)
    if error := event.get("error"):
        code = error.get("code") if isinstance(error, dict) else None
        raise Refused(code if isinstance(code, int) else 0, message_in(data))
    return event


def message_in(body: bytes) -> str:
    """What an error says, in the shapes in which servers write it: ``{"error": {"message": …}}``, or one less deep."""
    try:
        plain = json.loads(body)
    except ValueError:
        return body.decode(errors="replace").strip()[:500]
    error = plain.get("error", plain) if isinstance(plain, dict) else plain
    said = error.get("message", error.get("detail", error)) if isinstance(error, dict) else error
    return str(said)


class AtOnce(Generic[T]):
    """Runs streams in threads and yields what they say. Closing the iterator hangs up all of them and waits for the threads.

    ``open`` makes a connection; ``talk(connection, item)`` yields what becomes of an item.
    """

    def __init__(self, open: Callable[[], Connection], talk: Callable[[Connection, Any], Iterator[T]]) -> None:
        self._open = open
        self._talk = talk
        self._said: queue.SimpleQueue[T | BaseException | None] = queue.SimpleQueue()
        self._running: set[Connection] = set()
        self._lock = threading.Lock()
        self._ended = False

    def run(self, items: Sequence[Any]) -> Generator[T, None, None]:
        """What is said about all items, in the order in which it is said; :meth:`end` breaks it off without an error.

        :raises Exception: the first that any of them raised.
        """
        if not items:
            return
        with ThreadPoolExecutor(min(WIDTH, len(items)), thread_name_prefix="tunesmith-request") as threads:
            for item in items:
                threads.submit(self._carry_out, item)
            left = len(items)
            try:
                while left:
                    said = self._said.get()
                    if isinstance(said, BaseException):
                        raise said
                    left -= said is None
                    if said is not None:
                        yield said
            finally:
                self.end()

    def _carry_out(self, item: Any) -> None:
        connection = self._open()
        with self._lock:
            self._running.add(connection)
        try:
            with closing(connection):
                for said in () if self._ended else self._talk(connection, item):
                    self._said.put(said)
            self._said.put(None)
        except BaseException as error:  # raised again where the answers are read
            self._said.put(None if self._ended else error)
        finally:
            with self._lock:
                self._running.discard(connection)

    def end(self) -> None:
        """Hang up everywhere. Safe to call twice, and from any thread."""
        with self._lock:
            self._ended = True
            running = list(self._running)
        for connection in running:
            connection.close()
