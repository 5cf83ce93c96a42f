"""``do_predict`` and ``predict_with_generate``: answer the prompts of the evaluation data and judge what was said."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from accelerate.utils import gather_object
from transformers import GenerationConfig, set_seed
from tunesmith.data.conversation import Media
from tunesmith.data.store import TokenStore
from tunesmith.errors import TunesmithError
from tunesmith.runtime.durable_files import write_text
from tunesmith.runtime.session import Session
from tunesmith.runtime.training_stage import reader_of

FILE = "generated_predictions.jsonl"


@dataclass(frozen=True)
class Question:
    """Ids that generation starts from, and those of the answer that is in the data."""

    prompt: tuple[int, ...]
    label: tuple[int, ...]
    media: tuple[Media, ...] = ()


def predict(trainer: Any, session: Session) -> dict[str, float]:
    """Answer every prompt of the evaluation data, in its order; write :data:`FILE`; measure."""
    started = time.monotonic()
    lines = [line for store in session.eval_data.values() for line in answer_all(trainer.model, store, session)]
    if session.args.should_save:
        session.output_dir.mkdir(parents=True, exist_ok=True)
        write_text(session.output_dir / FILE, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))
    runtime = time.monotonic() - started
    speed = {"predict_runtime": runtime, "predict_samples_per_second": len(lines) / max(runtime, 1e-9)}
    return {**speed, **measure(session, lines, "predict")}


def answer_all(model: Any, store: TokenStore, session: Session) -> list[dict[str, str]]:
    """Answer every prompt of one dataset; all processes share the work and get all answers."""
    questions = list(questions_in(store))
    set_seed(session.args.seed)
    rank, processes = session.args.process_index, session.args.world_size
    mine = [answer for batch in _batches(questions[rank::processes], session) for answer in _answer(model, batch, session)]
    answers = gather_object(list(zip(range(rank, len(questions), processes), mine, strict=True)))
    return _lines(session, questions, [answer for _, answer in sorted(answers)])


def measure(session: Session, lines: Sequence[dict[str, str]], prefix: str) -> dict[str, float]:
    """The share of answers that are exactly as expected, white space at their ends aside, and what the picked metrics say."""
    said, expected = [line["predict"] for line in lines], [line["label"] for line in lines]
    same = sum(one.strip() == other.strip() for one, other in zip(said, expected, strict=True))
    found = {f"{prefix}_exact_match": same / max(len(lines), 1)}
    for chosen in session.plan.picked("metrics"):
        metric = session.plugins.metrics.get(chosen.wanted).load()(session.plan)
        found |= {f"{prefix}_{name}": value for name, value in metric.compute(said, expected).items()}
    return found


def questions_in(store: TokenStore) -> Iterator[Question]:
    """Every document of every row: all before the last stretch that is learned is the prompt, that stretch the answer."""
    for index in range(len(store)):
        tokens = store[index]["tokens"]
        ids, weights = np.asarray(tokens.ids), np.asarray(tokens.weights)
        ends = np.cumsum([0, *(store.boundaries(index) if store.packed else (len(ids),))])
        for start, end in pairwise(ends):
            yield replace(_question(ids[start:end], weights[start:end]), media=tokens.media)


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
    cache = session.plan["use_kv_cache"]
    reader = reader_of(session)
    seen = reader.inputs(ids, [one for question in batch for one in question.media]) if reader is not None else {}
    seen = {name: value.to(device) if isinstance(value, torch.Tensor) else value for name, value in seen.items()}
    was_training = model.training
    model.eval()
    with torch.no_grad():
        found = model.generate(
            input_ids=ids, attention_mask=mask, generation_config=_sampling(session), use_cache=cache, **seen
        )
    model.train(was_training)
    skip = session.plan["skip_special_tokens"]
    answers: list[str] = session.tokenizer.batch_decode(found[:, longest:], skip_special_tokens=skip)
    return answers


def _sampling(session: Session) -> GenerationConfig:
    """The plan's sampling; ``generation_max_length`` and ``generation_num_beams`` are for evaluation alone and win here."""
    config, args = session.generation_config, session.args
    if getattr(args, "generation_num_beams", None):
        config.num_beams = args.generation_num_beams
    if getattr(args, "generation_max_length", None):
        config.max_new_tokens, config.max_length = None, args.generation_max_length
    return config


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
