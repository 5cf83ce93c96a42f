"""Questions to an engine, many at once; answers in the order of the questions."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from tunesmith.contracts import Delta, Engine, Request, Sampling
from tunesmith.data.openai_answers import message_of
from tunesmith.errors import TunesmithError

from tunesmith_batch.questions import Line, Question, question_of

AHEAD = 4
"""How many lines for each that is being answered may wait for an earlier one."""


class Stopped(Exception):
    """The engine was stopped in the middle of an answer."""


@dataclass(frozen=True)
class Asker:
    """Asks ``engine`` with ``sampling`` where a line says nothing else."""

    engine: Engine
    sampling: Sampling

    def answer(self, line: Line) -> dict[str, Any]:
        """The line of the answers' file for one line of the questions'. What is wrong with a line becomes its answer.

        :raises Stopped: the engine was stopped.
        """
        head: dict[str, Any] = {"line": line.number, "of": line.mark}
        try:
            question = question_of(line, self.sampling)
            head |= {"id": question.id} if question.id is not None else {}
            head |= {"columns": question.columns} if question.columns else {}
            return head | self._ask(line, question)
        except TunesmithError as error:
            return head | {"error": {"message": error.message, "hint": error.hint}}

    def _ask(self, line: Line, question: Question) -> dict[str, Any]:
        engine = self.engine
        ids = engine.encode(question.conversation)
        request = Request(str(line.number), ids, question.sampling, question.adapter, question.conversation.media)
        deltas = list(engine.generate([request]))
        if not deltas or deltas[-1].finish == "cancelled":
            raise Stopped
        text = "".join(delta.text for delta in deltas)
        count = sum(len(delta.ids) for delta in deltas)
        return {
            "text": text,
            "finish": deltas[-1].finish,
            "message": message_of(engine.renderer.parse_reply(text, question.conversation.tools)),
            "usage": {"prompt_tokens": len(ids), "completion_tokens": count},
            **_logprobs(deltas, question),
        }


def _logprobs(deltas: list[Delta], question: Question) -> dict[str, Any]:
    if question.sampling.logprobs is None:
        return {}
    entries = [entry for delta in deltas for entry in delta.logprobs]
    return {"logprobs": [{"id": entry.id, "logprob": entry.logprob, "top": entry.top} for entry in entries]}


def answer_all(asker: Asker, lines: Iterator[Line], at_once: int) -> Iterator[dict[str, Any]]:
    """Answers in the order of ``lines``, of which only a few are held at a time. Closing it stops the engine."""
    window: deque[Future[dict[str, Any]]] = deque()
    ended = threading.Event()
    with ThreadPoolExecutor(at_once, thread_name_prefix="tunesmith-batch") as threads:
        try:
            for line in lines:
                window.append(threads.submit(asker.answer, line))
                if len(window) >= at_once * AHEAD:
                    yield window.popleft().result()
            while window:
                yield window.popleft().result()
            ended.set()
        finally:
            if not ended.is_set():
                for future in window:
                    future.cancel()
                asker.engine.stop()
