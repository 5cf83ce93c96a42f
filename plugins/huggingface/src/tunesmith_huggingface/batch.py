"""One batch of requests: what its rows have said so far, and the thread that it runs in."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Sequence

import torch
from transformers import LogitsProcessor, StoppingCriteria
from tunesmith.contracts import Delta
from tunesmith.runtime.answering import Answer

from tunesmith_huggingface.picking import Picker

Say = Callable[[Delta], None]


class Chooser(LogitsProcessor):
    """Leaves ``generate`` one token to choose for each row: the one that its request picks."""

    def __init__(self, answers: Sequence[Answer], pickers: Sequence[Picker]) -> None:
        self.answers = answers
        self.pickers = pickers

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        only = torch.full_like(scores, -torch.inf)
        for row, (answer, picker) in enumerate(zip(self.answers, self.pickers, strict=True)):
            only[row, 0 if answer.finish else picker.pick(scores[row])] = 0.0
        return only


class Watcher(StoppingCriteria):
    """Sees every new token of a running ``generate``, hands it on, and says which rows are done."""

    def __init__(self, answers: Sequence[Answer], pickers: Sequence[Picker], say: Say, cancelled: threading.Event) -> None:
        self.answers = answers
        self.pickers = pickers
        self.say = say
        self.cancelled = cancelled

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor, **kwargs: object) -> torch.Tensor:
        for answer, picker, token in zip(self.answers, self.pickers, input_ids[:, -1].tolist(), strict=True):
            if answer.finish is None:
                self.say(answer.add(token, picker.logprob))
        done = [self.cancelled.is_set() or answer.finish is not None for answer in self.answers]
        return torch.tensor(done, device=input_ids.device, dtype=torch.bool)


class Cancelled(StoppingCriteria):
    """Ends a beam search, whose rows are no answers yet, when it is cancelled."""

    def __init__(self, cancelled: threading.Event) -> None:
        self.cancelled = cancelled

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor, **kwargs: object) -> torch.Tensor:
        return torch.full((len(input_ids),), self.cancelled.is_set(), device=input_ids.device, dtype=torch.bool)


def in_thread(work: Callable[[Say], None], cancelled: threading.Event) -> Iterator[Delta]:
    """Run ``work`` in a thread and yield what it says. Closing the iterator sets ``cancelled`` and waits for the thread.

    :raises Exception: whatever ``work`` raised, after all that it said before.
    """
    said: queue.SimpleQueue[Delta | BaseException | None] = queue.SimpleQueue()

    def carry_out() -> None:
        try:
            work(said.put)
            said.put(None)
        except BaseException as error:  # raised again where the answers are read
            said.put(error)

    thread = threading.Thread(target=carry_out, name="tunesmith-generate", daemon=True)
    thread.start()
    try:
        while (item := said.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        cancelled.set()
        thread.join()
