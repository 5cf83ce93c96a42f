"""The demo: its questions, how answers are counted, its configurations; and, where there is time, the whole of it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tunesmith import api
from tunesmith.data.conversation import Call, Text, Turn

DEMO = Path(__file__).parents[1] / "examples" / "demo"


@pytest.fixture
def demo(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The demo's modules."""
    monkeypatch.syspath_prepend(str(DEMO))
    import questions
    import tasks

    return type("Demo", (), {"tasks": tasks, "questions": questions})


def test_the_questions_are_the_same_every_time(demo: Any, tmp_path: Path) -> None:
    first, second = demo.tasks.write(tmp_path / "a"), demo.tasks.write(tmp_path / "b")
    assert first == second
    for file in (tmp_path / "a").iterdir():
        assert file.read_bytes() == (tmp_path / "b" / file.name).read_bytes(), file.name


def test_what_is_asked_was_never_shown(demo: Any, tmp_path: Path) -> None:
    asked = {row.question for row in demo.tasks.write(tmp_path)}
    shown = "".join(file.read_text() for file in tmp_path.glob("job_*.jsonl"))
    assert len(asked) > 100
    assert not [question for question in asked if f'"{question}"' in shown]
    assert {row.task for row in demo.tasks.write(tmp_path)} == {"date", "sum", "call", "who"}


def test_only_exactly_right_answers_count(demo: Any) -> None:
    row = demo.tasks.Row("call", "?", {"name": "get_weather", "arguments": {"city": "Oslo"}})
    right, wrong = Call("get_weather", {"city": "Oslo"}), Call("get_weather", {"city": "Rome"})
    said = [(right,), (wrong,), (right, right), (Text("Well, "), right), (Text("Oslo"),)]
    counted = [demo.questions.Answer(row, "", Turn("assistant", parts)).right for parts in said]
    assert counted == [True, False, False, False, False]
    word = demo.tasks.Row("sum", "?", "The answer is 3.")
    answers = [
        demo.questions.Answer(word, text, Turn("assistant", ())) for text in ("The answer is 3.", "The answer is 3", "3")
    ]
    assert [answer.right for answer in answers] == [True, False, False]
    assert demo.questions.score(answers) == {"sum": pytest.approx(1 / 3), "all": pytest.approx(1 / 3)}


@pytest.mark.parametrize("name", ["base", "full", "lora"])
def test_its_configurations_are_sound(demo: Any, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    demo.tasks.write(tmp_path / "demo" / "data")
    plan = api.plan(DEMO / f"{name}.yaml")
    missing = [str(problem) for problem in plan.missing]
    assert not plan.unused
    assert all("demo/" in problem for problem in missing), missing
    assert len(plan.datasets) == 2


@pytest.mark.long
def test_the_whole_demo_keeps_its_promises(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, str(DEMO / "demo.py")], cwd=tmp_path, env=os.environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "Held-out questions answered exactly right" in done.stdout
