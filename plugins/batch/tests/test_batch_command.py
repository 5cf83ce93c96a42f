"""A whole run, one that is killed and started again, and one whose engine breaks."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tunesmith import TunesmithError, api
from tunesmith.contracts import Request
from tunesmith.dialogue import sampling_of
from tunesmith.plan import Plan
from tunesmith.plugins import Plugins
from tunesmith.runtime.tiny import make_tiny
from tunesmith_batch.answers import Asker, answer_all
from tunesmith_batch.command import answer_file
from tunesmith_batch.questions import Line, lines_of

ROWS = 40
QUIET = {**os.environ, "HF_HUB_OFFLINE": "1"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny("llama", tmp_path_factory.mktemp("batch") / "model")


def keys(folder: Path) -> dict[str, Any]:
    return {"model_name_or_path": str(folder), "do_sample": False, "max_new_tokens": 40}


@pytest.fixture(scope="module")
def plan(folder: Path) -> Plan:
    return api.plan(keys(folder), command="batch")


@pytest.fixture(scope="module")
def questions(folder: Path) -> Path:
    file = folder.parent / "in.jsonl"
    rows = [{"prompt": f"Question {n}", "sampling": {"max_new_tokens": 5 + 37 * n % 90}} for n in range(ROWS)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows) + "broken\n" + json.dumps({"prompt": "last"}))
    return file


@pytest.fixture(scope="module")
def expected(plan: Plan, questions: Path) -> str:
    """What a run that nothing stops writes."""
    file = questions.with_name("expected.jsonl")
    counts = answer_file(plan, Plugins(), questions, file, 8)
    assert counts == {"answered": ROWS + 2, "wrong": 1}
    return file.read_text()


def test_each_line_has_its_answer_in_order(expected: str, plan: Plan, folder: Path) -> None:
    rows = [json.loads(line) for line in expected.splitlines()]
    assert [row["line"] for row in rows] == list(range(1, ROWS + 3))
    assert rows[ROWS]["error"]["message"].startswith("The line is no JSON")
    assert [row["usage"]["completion_tokens"] for row in rows[:ROWS]] == [5 + 37 * n % 90 for n in range(ROWS)]
    assert all(row["message"] == {"role": "assistant", "content": row["text"]} for row in (rows[0], rows[-1]))


def test_a_finished_file_costs_nothing(expected: str, plan: Plan, questions: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tunesmith_huggingface.engine.HuggingfaceEngine.start", None)
    assert not answer_file(plan, Plugins(), questions, questions.with_name("expected.jsonl"), 8)


def test_a_run_that_was_killed_goes_on_where_it_was(expected: str, folder: Path, questions: Path) -> None:
    answers = questions.with_name("killed.jsonl")
    words = [f"{key}={str(value).lower() if isinstance(value, bool) else value}" for key, value in keys(folder).items()]
    command = [sys.executable, "-m", "tunesmith.cli.main", "batch", str(questions), str(answers), *words, "--at-once", "2"]
    process = subprocess.Popen(command, env=QUIET, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not (answers.exists() and answers.read_bytes().count(b"\n") >= 5):
        assert process.poll() is None, "it ended before it was killed"
        assert time.monotonic() < deadline, "it wrote nothing"
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = answers.read_text()
    assert 5 <= done.count("\n") < ROWS
    whole = done[: done.rindex("\n") + 1]
    answers.write_text(whole + expected[len(whole) : len(whole) + 30])  # killed in the middle of a line
    said = subprocess.run(command, env=QUIET, capture_output=True, text=True, check=True, timeout=120)
    assert answers.read_text() == expected
    assert f"{ROWS + 2 - whole.count(chr(10))} lines answered, 1 with errors" in said.stdout


class Crowded:
    """An engine that counts who asks, and breaks when it is told to."""

    def __init__(self, renderer: Any) -> None:
        self.renderer, self.read, self.stopped, self.breaks_at = renderer, 0, False, 10**9

    def encode(self, conversation: Any) -> tuple[int, ...]:
        return (1,)

    def generate(self, requests: list[Request]) -> Iterator[Any]:
        if int(requests[0].id) >= self.breaks_at:
            raise RuntimeError("struck by lightning")
        raise TunesmithError("no words")

    def stop(self) -> None:
        self.stopped = True


def test_only_a_few_lines_are_in_memory(plan: Plan) -> None:
    read = 0

    def endless() -> Iterator[Line]:
        nonlocal read
        while True:
            read += 1
            yield Line(read, '{"prompt": "a"}', "m")

    engine = Crowded(None)
    told = answer_all(Asker(engine, sampling_of(plan)), endless(), 3)  # type: ignore[arg-type]
    assert [next(told)["line"] for _ in range(50)] == list(range(1, 51))
    assert read <= 50 + 3 * 4
    told.close()  # type: ignore[attr-defined]
    assert engine.stopped


def test_an_engine_that_breaks_ends_the_run(plan: Plan, questions: Path) -> None:
    engine = Crowded(None)
    engine.breaks_at = 6
    told = answer_all(Asker(engine, sampling_of(plan)), lines_of(questions, ""), 2)  # type: ignore[arg-type]
    with pytest.raises(RuntimeError, match="lightning"):
        list(told)
    assert engine.stopped
