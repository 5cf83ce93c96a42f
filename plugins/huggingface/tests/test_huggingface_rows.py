"""Rows that join and leave a running batch answer as they would alone."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from tunesmith.contracts import Request, Sampling
from tunesmith.runtime.answer_text import Letters, Stops
from tunesmith.runtime.answering import Answer
from tunesmith.runtime.tiny import make_tiny
from tunesmith_huggingface.caches import size_of
from tunesmith_huggingface.jobs import Job
from tunesmith_huggingface.loaded import server_of
from tunesmith_huggingface.loop import Limits, Loop
from tunesmith_huggingface.picking import Picker
from tunesmith_huggingface.rows import Rows, of_a_length

FAMILIES = ("llama", "gemma3", "gpt-oss", "deepseek-v3")


@pytest.fixture(scope="module", params=FAMILIES)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder: Path = tmp_path_factory.mktemp("rows") / "model"
    model = AutoModelForCausalLM.from_pretrained(make_tiny(request.param, folder), dtype=torch.float32).eval()
    if getattr(model.config, "sliding_window", None):
        model.config.sliding_window = 16  # shorter than the rows, so that they outgrow it
    model.tokenizer = AutoTokenizer.from_pretrained(folder)
    return model


def job(model: Any, length: int, room: int = 24, **keys: Any) -> Job:
    rng = random.Random(length)
    ids = tuple(rng.randrange(300, 2000) for _ in range(length))
    request = Request(str(length), ids, Sampling(max_new_tokens=room, do_sample=False, **keys))
    return Job(Answer(request, Letters(model.tokenizer), Stops(()), frozenset(), room), Picker(request))


def alone(model: Any, asked: Job) -> list[int]:
    ids = torch.tensor([asked.request.ids])
    rows = model.generate(
        ids, attention_mask=torch.ones_like(ids), max_new_tokens=asked.answer.room, do_sample=False, eos_token_id=None
    )
    return rows[0].tolist()


@torch.inference_mode()
def test_rows_that_join_and_leave_answer_as_alone(model: Any) -> None:
    first = [job(model, 5, 9), job(model, 40)]
    later = [job(model, 21), job(model, 3, 4)]
    last = job(model, 70, 12)
    batch = Rows(model, first, 0)
    for _ in range(6):
        batch.step()
    batch.join(Rows(model, later, 0))
    while batch.jobs:
        batch.step()
        batch.sweep()
        if last not in batch.jobs and not last.over:
            batch.join(Rows(model, [last], 0))
    for one in (*first, *later, last):
        assert one.ids == alone(model, one), f"the row of {one.request.id} tokens"


@torch.inference_mode()
def test_columns_that_nobody_fills_are_given_back(model: Any) -> None:
    short, long = job(model, 5), job(model, 90, 2)
    batch = Rows(model, [short, long], 0)
    batch.step()
    before = size_of(batch.cache)
    batch.sweep()
    assert batch.jobs == [short]
    assert batch.columns == len(short.ids) - 1
    assert size_of(batch.cache) < before / 3


@torch.inference_mode()
def test_a_batch_takes_no_guest_whose_padding_costs_more_than_it_saves(model: Any) -> None:
    running, guest, long = Rows(model, [job(model, 8)], 0), Rows(model, [job(model, 60)], 0), Rows(model, [job(model, 900)], 0)
    assert running.welcomes(guest)
    assert not running.welcomes(long)
    assert [[len(one.ids) for one in group] for group in of_a_length([job(model, n) for n in (900, 3, 200, 500)])] == [
        [3, 200],
        [500, 900],
    ]


class TestLoop:
    @pytest.fixture
    def loop(self, model: Any) -> Any:
        loop = Loop({None: server_of(model, 0, use_cache=True)}, Limits(rows=3, tokens=150, prompt_tokens=64))
        yield loop
        loop.stop()

    def test_rows_that_outgrow_the_memory_wait_and_go_on(self, model: Any, loop: Loop) -> None:
        jobs = [job(model, length, 60) for length in (30, 31, 32, 5)]
        loop.submit(jobs)
        for one in jobs:
            finish(one)
            assert one.ids == alone(model, one)

    def test_a_cancelled_row_makes_room_at_once(self, model: Any, loop: Loop) -> None:
        endless, waiting = [job(model, 10 + n, 3000) for n in range(3)], job(model, 4, 3)
        loop.submit(endless)
        endless[0].said.get()
        loop.submit([waiting])
        endless[1].cancelled = True
        finish(waiting)
        assert len(endless[0].ids) < 1000

    def test_an_error_ends_its_batch_and_no_other(self, model: Any, loop: Loop) -> None:
        good, bad = job(model, 10), job(model, 11)
        bad.picker.pick = failing  # type: ignore[method-assign]
        loop.submit([bad])
        with pytest.raises(RuntimeError, match="lightning"):
            finish(bad)
        loop.submit([good])
        finish(good)
        assert good.ids == alone(model, good)


def failing(scores: torch.Tensor, best: int | None) -> int:
    raise RuntimeError("struck by lightning")


def finish(one: Job) -> None:
    """Wait for the end of its answer."""
    while True:
        said = one.said.get(timeout=60)
        if isinstance(said, BaseException):
            raise said
        if said.finish is not None:
            return
