"""One process or several that prepare blocks of rows, with the results in the order of the rows.

Processes are spawned, not forked: a fork of a process with threads (those of the tokenizer among them) may hang.
"""

from __future__ import annotations

import os
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from itertools import islice
from multiprocessing import get_context
from typing import TypeVar

from tunesmith.collecting import collector_paused
from tunesmith.data.work import Block, Row
from tunesmith.errors import TunesmithError

T = TypeVar("T")
Work = Callable[[Sequence[Row]], Block]
#: Blocks that are under way for each worker: enough to keep it busy, few enough to keep memory small.
AHEAD = 2

DIED = (
    "Most often memory ran out: write preprocessing_num_workers: 1. A script that prepares data in several processes needs"
    ' `if __name__ == "__main__":` around what it does.'
)

_work: Work | None = None


def blocks_of(rows: Iterable[T], size: int) -> Iterator[list[T]]:
    """Consecutive lists of at most ``size``."""
    iterator = iter(rows)
    while block := list(islice(iterator, size)):
        yield block


def work_through_here(work: Work, blocks: Iterable[Sequence[Row]]) -> Iterator[Block]:
    """Call ``work`` on every block, in this process."""
    waiting = iter(blocks)
    while True:
        with collector_paused():  # reading makes as many objects as working does
            block = next(waiting, None)
            if block is None:
                return
            done = work(block)
        yield done


def work_through(
    make: Callable[..., Work], arguments: tuple[object, ...], blocks: Iterable[Sequence[Row]], workers: int
) -> Iterator[Block]:
    """Call ``make(*arguments)`` once in each process, and what it returns on every block; results come in order.

    :param make: a function of a module, since it is sent to other processes by its name.
    :raises TunesmithError: a process died.
    """
    with ProcessPoolExecutor(workers, get_context("spawn"), _start, (make, arguments)) as pool:
        pending: deque[Future[Block]] = deque()
        try:
            for block in blocks:
                with _held_back(signal.SIGINT):
                    pending.append(pool.submit(_run, block))
                if len(pending) >= workers * AHEAD:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        except BrokenProcessPool as error:
            raise TunesmithError("A process that prepared data died.", DIED) from error


@contextmanager
def _held_back(number: signal.Signals) -> Iterator[None]:
    """Let a signal wait. Processes started meanwhile never see it: Ctrl-C is for the one that started them, and stops them."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {number})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _start(make: Callable[..., Work], arguments: tuple[object, ...]) -> None:
    global _work
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    _work = make(*arguments)


def _run(block: Sequence[Row]) -> Block:
    assert _work is not None
    with collector_paused():
        return _work(block)
