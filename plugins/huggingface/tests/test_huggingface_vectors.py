"""Scores and embeddings, held against the model's own numbers."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM
from tunesmith import TunesmithError, api
from tunesmith.contracts import Request
from tunesmith.runtime.tiny import make_tiny
from tunesmith.runtime.value_head import write_value_head
from tunesmith.testing.engine_suite import ASKED, GREEDY, collect, ids_of, plain_generate
from tunesmith_huggingface.engine import HuggingfaceEngine

ROWS = [(5, 6, 7), (8,), tuple(range(300, 360)), (9, 10), *[(i, i + 1, i + 2, i + 3) for i in range(20, 30)]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = make_tiny("qwen3", tmp_path_factory.mktemp("vectors") / "model")
    torch.manual_seed(0)
    write_value_head({"summary.weight": torch.randn(1, 64), "summary.bias": torch.ones(1)}, folder)
    return folder


@pytest.fixture(scope="module")
def engine(folder: Path) -> Iterator[HuggingfaceEngine]:
    """With the value head that the command of a reward model asks for."""
    plan = api.plan({"model_name_or_path": str(folder)}, command="chat")
    plan = replace(plan, models={"policy": replace(plan.models["policy"], head="value")})
    engine = HuggingfaceEngine(plan)
    engine.start(plan)
    yield engine
    engine.stop()


@torch.no_grad()
def hidden(folder: Path, row: tuple[int, ...]) -> torch.Tensor:
    return AutoModelForCausalLM.from_pretrained(folder).model(torch.tensor([row])).last_hidden_state[0]


def test_a_score_is_the_value_at_the_last_token(engine: HuggingfaceEngine, folder: Path) -> None:
    torch.manual_seed(0)
    weight = torch.randn(1, 64)[0]
    expected = [float(hidden(folder, row)[-1] @ weight) + 1 for row in ROWS[:4]]
    assert engine.score(ROWS)[:4] == pytest.approx(expected, abs=1e-4)


def test_an_embedding_is_the_mean_of_hidden_states_of_length_1(engine: HuggingfaceEngine, folder: Path) -> None:
    found = torch.tensor(engine.embed(ROWS))
    assert torch.allclose(found.norm(dim=1), torch.ones(len(ROWS)), atol=1e-5)
    for row, vector in list(zip(ROWS, found, strict=True))[:4]:
        mean = hidden(folder, row).mean(dim=0)
        assert torch.allclose(vector, mean / mean.norm(), atol=1e-5)


def test_a_reward_model_writes_and_rates_at_once(engine: HuggingfaceEngine, folder: Path) -> None:
    request = Request("a", engine.encode(ASKED[0]), GREEDY)
    before = engine.score(ROWS)
    deltas = engine.generate([request])
    first = next(deltas)
    assert engine.score(ROWS) == before
    assert ids_of([first, *collect(deltas)["a"]]) == plain_generate(folder, request)


@pytest.mark.parametrize(("row", "what"), [((), "Text 1 has no tokens"), ((7,) * 5000, "5000 tokens; the model can see")])
def test_texts_that_cannot_be_read_are_refused(engine: HuggingfaceEngine, row: tuple[int, ...], what: str) -> None:
    for verb in (engine.score, engine.embed):
        with pytest.raises(TunesmithError, match=what):
            verb([(1, 2), row])


def test_a_model_that_rates_nothing_says_so(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "plain"
    shutil.copytree(folder, copy, ignore=shutil.ignore_patterns("value_head*"))
    plan = api.plan({"model_name_or_path": str(copy)}, command="chat")
    engine = HuggingfaceEngine(plan)
    engine.start(plan)
    with pytest.raises(TunesmithError, match="rates none"):
        engine.score(ROWS)
    engine.stop()
    with pytest.raises(TunesmithError, match="not running"):
        engine.embed(ROWS)
