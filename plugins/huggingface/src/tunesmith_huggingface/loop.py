"""The one thread that computes: it lets requests in, gives each batch its steps, and lets go of what is over."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import torch
from transformers import PreTrainedModel
from tunesmith.contracts import MediaReader
from tunesmith.errors import TunesmithError

from tunesmith_huggingface.jobs import Job
from tunesmith_huggingface.rows import Rows, of_a_length
from tunesmith_huggingface.whole import answer_whole, kinds, settings_of

T = TypeVar("T")

GROWTH = 32
"""Tokens by which each running row must be able to grow before another is let in."""


@dataclass(frozen=True)
class Limits:
    """How much runs at once. ``tokens``: those that all rows may hold together; ``prompt_tokens``: those read in one go."""

    rows: int
    tokens: int
    prompt_tokens: int


@dataclass(frozen=True)
class Server:
    """A model as the loop knows it. ``joins``: rows can join a running batch."""

    model: PreTrainedModel
    joins: bool
    pad: int
    use_cache: bool


class Loop:
    """Answers jobs until it is stopped. Only its thread touches models, so that any number of threads may ask.

    A turn lets waiting jobs in as far as the limits allow, oldest first, and takes one step with every batch. When running
    rows have outgrown the limit of tokens, the youngest goes back to wait; it is read again later, answer so far included.
    """

    def __init__(self, servers: Mapping[str | None, Server], limits: Limits, reader: MediaReader | None = None) -> None:
        """``servers``: name of an adapter → the model that answers with it; ``reader``: of what requests hold beside text."""
        self._servers, self._limits, self._reader = servers, limits, reader
        self._waiting: deque[Job] = deque()
        self._batches: list[Rows] = []
        self._whole: list[Job] = []
        self._calls: deque[tuple[Callable[[], Any], Future[Any]]] = deque()
        self._wake = threading.Condition()
        self._ending = False
        self._thread = threading.Thread(target=self._run, name="tunesmith-huggingface", daemon=True)
        self._thread.start()

    def submit(self, jobs: Sequence[Job]) -> None:
        """Let ``jobs`` wait for their turn.

        :raises TunesmithError: the loop was stopped.
        """
        with self._wake:
            if self._ending:
                raise TunesmithError("The engine is not running.", "Call start(plan) first.")
            self._waiting.extend(jobs)
            self._wake.notify()

    def call(self, work: Callable[[], T]) -> T:
        """Have ``work`` done between two turns and return what comes of it.

        :raises TunesmithError: the loop was stopped.
        """
        future: Future[T] = Future()
        with self._wake:
            if self._ending:
                raise TunesmithError("The engine is not running.", "Call start(plan) first.")
            self._calls.append((work, future))
            self._wake.notify()
        return future.result()

    def stop(self) -> None:
        """Cancel everything and wait until nothing runs."""
        with self._wake:
            self._ending = True
            self._wake.notify()
        if threading.current_thread() is not self._thread:
            self._thread.join()

    # -- in the thread -------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        with torch.inference_mode():
            try:
                while self._wait():
                    self._turn()
                    self._answer_whole()
            except Exception as error:
                with self._wake:
                    self._ending = True
                for job in self._unfinished():
                    job.fail(error)
                for _, future in self._calls:
                    future.set_exception(error)
                raise
        for job in self._unfinished():
            job.cancel()
        self._do_calls(len(self._calls))
        self._batches.clear()

    def _unfinished(self) -> list[Job]:
        return [*self._waiting, *self._whole, *self._running()]

    def _running(self) -> list[Job]:
        return [job for batch in self._batches for job in batch.jobs]

    def _wait(self) -> bool:
        with self._wake:
            while not (self._waiting or self._batches or self._whole or self._calls or self._ending):
                self._wake.wait()
            return not self._ending

    def _turn(self) -> None:
        self._do_calls(1)
        self._admit()
        for batch in list(self._batches):
            self._guarded(batch.jobs, batch.step)
        self._sweep()
        self._shrink()

    def _do_calls(self, most: int) -> None:
        for work, future in [self._calls.popleft() for _ in range(min(most, len(self._calls)))]:
            try:
                future.set_result(work())
            except Exception as error:
                future.set_exception(error)

    def _sweep(self) -> None:
        for batch in self._batches:
            batch.sweep()
        self._batches = [batch for batch in self._batches if batch.jobs]

    def _admit(self) -> None:
        """Read the prompts of jobs for which there is room, those of one model together."""
        admitted: dict[str | None, list[Job]] = {}
        for job in self._next():
            admitted.setdefault(job.request.adapter, []).append(job)
        for adapter, jobs in admitted.items():
            for group in of_a_length(jobs):
                self._guarded(group, partial(self._begin, group, self._servers[adapter]))

    def _begin(self, jobs: list[Job], server: Server) -> None:
        batch = Rows(server.model, jobs, server.pad)
        batch.sweep()
        host = next((other for other in self._batches if other.welcomes(batch)), None)
        if host is not None and batch.jobs:
            self._guarded([*host.jobs, *jobs], partial(host.join, batch))
        elif batch.jobs:
            self._batches.append(batch)

    def _next(self) -> list[Job]:
        """Jobs to let in now; those that only ``generate`` can answer are put aside."""
        found: list[Job] = []
        running, reading = self._running(), 0
        held = sum(len(job.ids) for job in running)
        while self._waiting:
            job = self._waiting[0]
            size, to_grow = len(job.ids), GROWTH * (len(running) + len(found) + 1)
            if job.cancelled or self._needs_generate(job):
                self._waiting.popleft()
                if not job.cancelled:
                    self._whole.append(job)
                continue
            alone = not running and not found
            full = len(running) + len(found) >= self._limits.rows or held + size + to_grow > self._limits.tokens
            if not alone and (full or (found and reading + size > self._limits.prompt_tokens)):
                break
            found.append(self._waiting.popleft())
            held, reading = held + size, reading + size
        return found

    def _needs_generate(self, job: Job) -> bool:
        wanted = job.request
        return wanted.sampling.num_beams > 1 or bool(wanted.media) or not self._servers[wanted.adapter].joins

    def _shrink(self) -> None:
        """Send the youngest rows back to wait while all together hold more than they may."""
        while len(rows := self._running()) > 1:
            if sum(len(job.ids) for job in rows) <= self._limits.tokens:
                return
            batch = self._batches[-1]
            job = batch.jobs[-1]
            batch.drop(job)
            self._waiting.appendleft(job)
            self._batches = [batch for batch in self._batches if batch.jobs]

    def _answer_whole(self) -> None:
        """One call of ``generate`` for jobs of one kind; between its tokens the others get their turns."""
        if jobs := next(iter(kinds([job for job in self._whole if not job.over])), None):
            jobs = jobs[: self._limits.rows]
            self._whole = [job for job in self._whole if job not in jobs and not job.over]
            server = self._servers[jobs[0].request.adapter]
            settings = settings_of(jobs, server.pad, server.use_cache)
            pause = partial(self._pause, jobs)
            self._guarded(jobs, lambda: answer_whole(server.model, jobs, settings, pause, self._reader))

    def _pause(self, jobs: Sequence[Job]) -> None:
        if self._ending:
            for job in jobs:
                job.cancel()
        else:
            self._turn()

    def _guarded(self, jobs: Sequence[Job], work: Callable[[], None]) -> None:
        """Do ``work``; an error ends its jobs, and only those."""
        jobs = list(jobs)
        try:
            work()
        except Exception as error:
            for job in jobs:
                job.fail(error)
