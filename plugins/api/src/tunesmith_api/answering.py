"""The engine's answers in the event loop: each set of requests in a thread of its own, for as long as its client waits."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, closing
from typing import Any, TypeVar

from starlette.types import Receive
from tunesmith.contracts import Delta, Engine, Request

from tunesmith_api.gate import Gate
from tunesmith_api.metrics import Metrics

T = TypeVar("T")


class ClientGone(Exception):
    """Nobody waits for the answer any more."""


class Desk:
    """Takes requests to the engine, as many at a time as the gate lets in, none for longer than ``seconds``."""

    def __init__(self, engine: Engine, gate: Gate, metrics: Metrics, seconds: float) -> None:
        self.engine = engine
        self.gate = gate
        self.metrics = metrics
        self.seconds = seconds
        self._threads = ThreadPoolExecutor(gate.limit, thread_name_prefix="tunesmith-answer")

    async def deltas(self, requests: Sequence[Request]) -> AsyncIterator[Delta]:
        """Answer requests. Closing the iterator cancels them; their slots are free once the engine has let go of them.

        :raises TunesmithError: the engine cannot honour one of them.
        """
        leave = await self.gate.enter(len(requests))
        loop = asyncio.get_running_loop()
        queue: asyncio.Queue[Delta | BaseException | None] = asyncio.Queue()
        cancelled = threading.Event()

        def put(item: Delta | BaseException | None) -> None:
            loop.call_soon_threadsafe(queue.put_nowait, item)

        work = loop.run_in_executor(self._threads, _work, self.engine, requests, put, cancelled)
        work.add_done_callback(lambda _: leave())
        try:
            while (item := await queue.get()) is not None:
                if isinstance(item, BaseException):
                    raise item
                yield item
        finally:
            cancelled.set()

    async def call(self, work: Callable[..., T], *arguments: Any) -> T:
        """Let the engine do something that takes a slot and cannot be broken off."""
        leave = await self.gate.enter(1)
        done = asyncio.get_running_loop().run_in_executor(self._threads, lambda: work(*arguments))
        done.add_done_callback(lambda _: leave())
        return await asyncio.shield(done)

    async def whole(self, requests: Sequence[Request], see: Callable[[Delta], None]) -> None:
        """Answer requests to their end, showing each delta."""
        async with asyncio.timeout(self.seconds), aclosing(self.deltas(requests)) as answers:
            async for delta in answers:
                see(delta)

    def close(self) -> None:
        """Wait for the threads."""
        self._threads.shutdown(cancel_futures=True)


def _work(
    engine: Engine, requests: Sequence[Request], put: Callable[[Delta | BaseException | None], None], cancelled: threading.Event
) -> None:
    try:
        with closing(engine.generate(requests)) as answers:  # type: ignore[type-var]
            for delta in answers:
                if cancelled.is_set():
                    return
                put(delta)
        put(None)
    except BaseException as error:  # raised again where the answers are read
        put(error)


async def unless_gone(receive: Receive, work: Coroutine[Any, Any, T], metrics: Metrics) -> T:
    """What ``work`` returns; it is cancelled when its client goes.

    :raises ClientGone: it went.
    """
    task, gone = asyncio.ensure_future(work), asyncio.ensure_future(_gone(receive))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            metrics.gone.inc()
            raise ClientGone
        return task.result()
    finally:
        for one in (task, gone):
            one.cancel()
        await asyncio.gather(task, gone, return_exceptions=True)


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
