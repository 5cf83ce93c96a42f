"""``do_predict``: answer the prompts of the evaluation data and write what was answered beside what was expected."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from accelerate.utils import gather_object
from transformers import set_seed
from tunesmith.data.store import TokenStore
from tunesmith.errors import TunesmithError
from tunesmith.runtime.durable_files import write_text
from tunesmith.runtime.session import Session

FILE = "generated_predictions.jsonl"


@dataclass(frozen=True)
class Question:
    """Ids that generation starts from, and those of the answer that is in the data."""

    prompt: tuple[int, ...]
    label: tuple[int, ...]


def predict(trainer: Any, session: Session) -> dict[str, float]:
    """Answer every prompt of the evaluation data, in its order; write :data:`FILE`; measure with the picked metrics."""
    questions = [question for store in session.eval_data.values() for question in questions_in(store)]
    started = time.monotonic()
    set_seed(session.args.seed)
    rank, processes = session.args.process_index, session.args.world_size
    mine = [
        answer for batch in _batches(questions[rank::processes], session) for answer in _answer(trainer.model, batch, session)
    ]
    answers = gather_object(list(zip(range(rank, len(questions), processes), mine, strict=True)))
    lines = _lines(session, questions, [answer for _, answer in sorted(answers)])
    if session.args.should_save:
        session.output_dir.mkdir(parents=True, exist_ok=True)
        write_text(session.output_dir / FILE, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))
    runtime = time.monotonic() - started
    metrics = {"predict_runtime": runtime, "predict_samples_per_second": len(questions) / max(runtime, 1e-9)}
    return {**metrics, **_measure(session, lines)}


def questions_in(store: TokenStore) -> Iterator[Question]:
    """Every document of every row: all before the last stretch that is learned is the prompt, that stretch the answer."""
    for index in range(len(store)):
        tokens = store[index]["tokens"]
        ids, weights = np.asarray(tokens.ids), np.asarray(tokens.weights)
        ends = np.cumsum([0, *(store.boundaries(index) if store.packed else (len(ids),))])
        for start, end in pairwise(ends):
            yield _question(ids[start:end], weights[start:end])


def _question(ids: np.ndarray[Any, Any], weights: np.ndarray[Any, Any]) -> Question:
    learned = np.flatnonzero(weights > 0)
    if not len(learned) or learned[0] == 0:
        raise TunesmithError(
            "A row of the evaluation data has no prompt or no answer to predict.", "Look at it: tunesmith data preview."
        )
    end = learned[-1] + 1
    before = np.flatnonzero(weights[:end] <= 0)[-1] + 1
    return Question(tuple(ids[:before].tolist()), tuple(ids[before:end].tolist()))


def _batches(questions: Sequence[Question], session: Session) -> Iterator[Sequence[Question]]:
    size = session.args.per_device_eval_batch_size
    return (questions[at : at + size] for at in range(0, len(questions), size))


def _answer(model: Any, batch: Sequence[Question], session: Session) -> list[str]:
    pad, device = session.tokenizer.pad_token_id, session.args.device
    longest = max(len(question.prompt) for question in batch)
    ids = torch.tensor([[pad] * (longest - len(q.prompt)) + list(q.prompt) for q in batch], device=device)
    mask = torch.tensor([[0] * (longest - len(q.prompt)) + [1] * len(q.prompt) for q in batch], device=device)
    model.eval()
    with torch.no_grad():
        found = model.generate(
            input_ids=ids,
            attention_mask=mask,
            generation_config=session.generation_config,
            use_cache=session.plan["use_kv_cache"],
        )
    skip = session.plan["skip_special_tokens"]
    answers: list[str] = session.tokenizer.batch_decode(found[:, longest:], skip_special_tokens=skip)
    return answers


def _lines(session: Session, questions: Sequence[Question], answers: Sequence[str]) -> list[dict[str, str]]:
    decode = session.tokenizer.decode
    return [
        {
            "prompt": decode(question.prompt, skip_special_tokens=False),
            "predict": answer,
            "label": decode(question.label, skip_special_tokens=True),
        }
        for question, answer in zip(questions, answers, strict=True)
    ]


def _measure(session: Session, lines: Sequence[dict[str, str]]) -> dict[str, float]:
    found: dict[str, float] = {}
    for chosen in session.plan.picked("metrics"):
        metric = session.plugins.metrics.get(chosen.wanted).load()(session.plan)
        scores = metric.compute([line["predict"] for line in lines], [line["label"] for line in lines])
        found |= {f"predict_{name}": value for name, value in scores.items()}
    return found
