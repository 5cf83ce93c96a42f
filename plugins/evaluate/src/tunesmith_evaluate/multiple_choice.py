"""The evaluator ``multiple_choice``: of the letters of a question's choices, the one that the model finds most likely.

After Hendrycks et al., "Measuring Massive Multitask Language Understanding" (2021). The examples before a question are the
first of the subject's train split, in their order, so that a benchmark has one result.
"""

from __future__ import annotations

import json
import logging
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from tunesmith.contracts import Engine, Evaluator, Request, Sampling
from tunesmith.data.tokens import make_encoder
from tunesmith.errors import TunesmithError
from tunesmith.plan import Plan

from tunesmith_evaluate.asking import Asked, ask_all
from tunesmith_evaluate.benchmark import read_benchmark
from tunesmith_evaluate.options import EvaluateOptions, parse

log = logging.getLogger("tunesmith.evaluate")

#: Added to the score of each letter: none that is not one is above it, and among letters nothing changes.
BIAS = 100.0
ANSWERS = "answers.jsonl"


class MultipleChoice(Evaluator):
    """Reads its questions when it is made, so that a mistake in them is known before the model is loaded."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._options = plan.options(EvaluateOptions)
        self.subjects = read_benchmark(parse(self._options.task), self._options.task_dir, self._options.n_shot)

    def evaluate(self, engine: Engine) -> Mapping[str, float]:
        """The share of right answers: of all questions (``average``), of each category and of each subject.

        With ``save_dir`` each question's answer becomes a line of ``answers.jsonl``.

        :raises TunesmithError: a prompt is longer than the model can see.
        """
        encoder = make_encoder(self._plan, engine.renderer)
        asked = list(ask_all(self.subjects, self._options.lang, engine.renderer, encoder))
        order = sorted(range(len(asked)), key=lambda number: -len(asked[number].ids))  # what is too long shows at once
        picked: dict[int, str] = {}
        for done in self._answered(engine, [(number, asked[number]) for number in order]):
            picked.update([done])
        answers = [picked[number] for number in range(len(asked))]
        if self._options.save_dir:
            _write(Path(self._options.save_dir), asked, answers)
        return _scores(asked, answers)

    def _answered(self, engine: Engine, asked: list[tuple[int, Asked]]) -> Iterator[tuple[int, str]]:
        size = self._options.batch_size
        for start in range(0, len(asked), size):
            batch = dict(asked[start : start + size])
            for delta in engine.generate([_request(number, one) for number, one in batch.items()]):
                yield from ((int(delta.request), _letter(batch[int(delta.request)], token)) for token in delta.ids[:1])
            if (start + size) * 10 // len(asked) > start * 10 // len(asked):
                log.info("%d of %d questions", min(start + size, len(asked)), len(asked))


def _request(number: int, asked: Asked) -> Request:
    biased = tuple((token, BIAS) for token in asked.letters)
    return Request(str(number), asked.ids, Sampling(max_new_tokens=1, do_sample=False, logit_bias=biased))


def _letter(asked: Asked, token: int) -> str:
    if token not in asked.letters:
        raise TunesmithError("The engine answered with what is none of the letters.", "Pick another infer_backend.")
    return asked.letters[token]


def _scores(asked: Iterable[Asked], answers: Iterable[str]) -> dict[str, float]:
    right: dict[str, list[bool]] = defaultdict(list)
    for one, answer in zip(asked, answers, strict=True):
        hit = answer == one.question.answer
        for group in ("average", f"category: {one.subject.category}", f"subject: {one.subject.id}"):
            right[group].append(hit)
    return {group: sum(hits) / len(hits) for group, hits in sorted(right.items())}


def _write(folder: Path, asked: Iterable[Asked], answers: Iterable[str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ANSWERS).open("w", encoding="utf-8") as file:
        for one, answer in zip(asked, answers, strict=True):
            line = {"subject": one.subject.id, "question": one.question.text, "answer": answer, "right": one.question.answer}
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
