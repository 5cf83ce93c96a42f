"""How many answers are generated at a time, and who waits for a turn."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable

from tunesmith_api.errors import ApiError


class Gate:
    """Lets ``limit`` answers run; up to ``queue`` requests wait in order, further ones are refused.

    All of it happens in one event loop.
    """

    def __init__(self, limit: int, queue: int) -> None:
        self.limit = limit
        self.queue = queue
        self.running = 0
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()
        self._seconds = 1.0
        """How long a slot is held, on average of late."""

    @property
    def waiting(self) -> int:
        """Requests that wait for their turn."""
        return len(self._waiting)

    async def enter(self, wanted: int) -> Callable[[], None]:
        """Wait for ``wanted`` slots and return what gives them back; more than there are count as all of them.

        :raises ApiError: status 429, the queue is full.
        """
        slots = min(wanted, self.limit)
        if self._waiting or self.running + slots > self.limit:
            await self._turn(slots)
        else:
            self.running += slots
        began, left = time.monotonic(), False

        def leave() -> None:
            nonlocal left
            if not left:
                left = True
                self._seconds += 0.2 * (time.monotonic() - began - self._seconds)
                self._free(slots)

        return leave

    async def _turn(self, slots: int) -> None:
        if len(self._waiting) >= self.queue:
            seconds = max(1, min(60, round(self._seconds * (1 + len(self._waiting) / self.limit))))
            raise ApiError(429, "Too many requests are waiting already. Try again later.", None, "overloaded", seconds)
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((slots, turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._free(slots)  # the turn came just as the client went
            else:
                self._waiting = deque(entry for entry in self._waiting if entry[1] is not turn)
                self._next()
            raise

    def _free(self, slots: int) -> None:
        self.running -= slots
        self._next()

    def _next(self) -> None:
        while self._waiting and self.running + self._waiting[0][0] <= self.limit:
            slots, turn = self._waiting.popleft()
            if not turn.cancelled():
                self.running += slots
                turn.set_result(None)
