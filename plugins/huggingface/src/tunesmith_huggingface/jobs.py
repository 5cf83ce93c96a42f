"""One request on its way through the engine."""

from __future__ import annotations

import queue
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from tunesmith.contracts import Delta, Request
from tunesmith.runtime.answering import Answer

from tunesmith_huggingface.picking import Picker

Said = queue.SimpleQueue[Delta | BaseException]


@dataclass(eq=False)
class Job:
    """A request, its answer so far, and where its deltas go. ``cancelled``: nobody waits for it any more."""

    answer: Answer
    picker: Picker
    said: Said = field(default_factory=queue.SimpleQueue)
    cancelled: bool = False

    @property
    def request(self) -> Request:
        """What was asked."""
        return self.answer.request

    @property
    def ids(self) -> list[int]:
        """The prompt and what the answer has so far."""
        return self.picker.ids

    @property
    def over(self) -> bool:
        """Whether it needs no further token."""
        return self.cancelled or self.answer.finish is not None

    def advance(self, scores: torch.Tensor, best: int | None = None) -> int:
        """Pick the next token and say what it adds. ``scores``: (vocabulary,); ``best``: the highest, where it is known."""
        token = self.picker.pick(scores, best)
        self.said.put(self.answer.add(token, self.picker.logprob))
        return token

    def cancel(self) -> None:
        """End it here, with the text that was held back."""
        self.cancelled = True
        if self.answer.finish is None:
            self.said.put(self.answer.cancel())

    def fail(self, error: BaseException) -> None:
        """End it with an error, which is raised where the answer is read."""
        self.cancelled = True
        self.said.put(error)


def read(jobs: Sequence[Job], said: Said) -> Iterator[Delta]:
    """What ``jobs`` say until all are over. Closing it cancels them.

    :raises Exception: what ended one of them.
    """
    left = len(jobs)
    try:
        while left:
            item = said.get()
            if isinstance(item, BaseException):
                raise item
            left -= item.finish is not None
            yield item
    finally:
        for job in jobs:
            job.cancelled = True
