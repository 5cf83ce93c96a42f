"""The gate: who runs, who waits, who is told to come back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from tunesmith_api.errors import ApiError
from tunesmith_api.gate import Gate


def run(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(asyncio.wait_for(work(), 10))


def test_turns_come_in_order_and_slots_are_given_back_once() -> None:
    async def work() -> None:
        gate, order = Gate(2, 10), []
        leave = await gate.enter(2)

        async def wait(name: str, slots: int) -> Callable[[], None]:
            left = await gate.enter(slots)
            order.append(name)
            return left

        big, small = asyncio.ensure_future(wait("big", 2)), asyncio.ensure_future(wait("small", 1))
        await asyncio.sleep(0)
        assert (gate.running, gate.waiting) == (2, 2)
        leave()
        leave()
        (await big)()
        await small
        assert order == ["big", "small"], "one that wants little does not overtake"
        assert (gate.running, gate.waiting) == (1, 0)

    run(work)


def test_more_slots_than_there_are_count_as_all_of_them() -> None:
    async def work() -> None:
        gate = Gate(2, 10)
        leave = await gate.enter(100)
        assert gate.running == 2
        leave()
        assert gate.running == 0

    run(work)


def test_a_full_queue_refuses() -> None:
    async def work() -> None:
        gate = Gate(1, 1)
        await gate.enter(1)
        waiting = asyncio.ensure_future(gate.enter(1))
        await asyncio.sleep(0)
        with pytest.raises(ApiError) as caught:
            await gate.enter(1)
        assert (caught.value.status, caught.value.retry_after) == (429, 2)
        waiting.cancel()

    run(work)


@pytest.mark.parametrize("turn_came", [True, False])
def test_one_that_gives_up_leaves_no_trace(turn_came: bool) -> None:
    """Also where its turn comes in the same moment."""

    async def work() -> None:
        gate = Gate(1, 5)
        leave = await gate.enter(1)
        first, second = asyncio.ensure_future(gate.enter(1)), asyncio.ensure_future(gate.enter(1))
        await asyncio.sleep(0)
        if turn_came:
            leave()
        first.cancel()
        if not turn_came:
            await asyncio.sleep(0)
            leave()
        (await second)()
        assert (gate.running, gate.waiting) == (0, 0)

    run(work)
