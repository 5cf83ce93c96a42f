"""What a line may say, and what is said about one that is wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tunesmith import TunesmithError
from tunesmith.contracts import Sampling
from tunesmith.data.conversation import Text, Turn
from tunesmith_batch.questions import Line, Question, lines_of, question_of
from tunesmith_batch.resuming import head_of, left_over

PLAIN = Sampling(max_new_tokens=7)


def read(row: Any) -> Question:
    return question_of(Line(1, row if isinstance(row, str) else json.dumps(row), "m"), PLAIN)


def test_a_prompt_is_a_users_turn() -> None:
    found = read({"prompt": "Hi", "system": "Be brief.", "label": 3})
    assert found.conversation.turns == (Turn("system", (Text("Be brief."),)), Turn("user", (Text("Hi"),)))
    assert (found.sampling, found.columns, found.id, found.adapter) == (PLAIN, {"label": 3}, None, None)


def test_messages_come_with_tools_sampling_and_an_adapter() -> None:
    tool = {"type": "function", "function": {"name": "add", "parameters": {"type": "object", "properties": {}}}}
    sampling = {
        "temperature": 0.5,
        "seed": 4,
        "stop": "x",
        "logit_bias": {"5": 1},
        "schema": {"type": "object"},
        "max_tokens": 3,
    }
    found = read(
        {"messages": [{"role": "user", "content": "Hi"}], "tools": [tool], "id": 9, "adapter": "a", "sampling": sampling}
    )
    assert found.conversation.turns == (Turn("user", (Text("Hi"),)),)
    assert len(found.conversation.tools) == 1
    assert found.sampling == Sampling(
        max_new_tokens=3, temperature=0.5, seed=4, stop=("x",), logit_bias=((5, 1.0),), schema='{"type": "object"}'
    )
    assert (found.id, found.adapter) == ("9", "a")


def test_a_line_of_openais_batch_files_is_read() -> None:
    body = {"model": "m", "messages": [{"role": "user", "content": "Hi"}], "temperature": 0, "max_completion_tokens": 5}
    found = read({"custom_id": "q1", "method": "POST", "url": "/v1/chat/completions", "body": body})
    assert (found.id, found.columns) == ("q1", {})
    assert found.sampling == Sampling(max_new_tokens=5, temperature=1.0, do_sample=False)


@pytest.mark.parametrize(
    ("row", "what"),
    [
        ("{", "no JSON"),
        ("[1]", "no JSON object"),
        ("\udcff", "no JSON"),
        ({}, "either prompt or messages"),
        ({"prompt": "a", "messages": []}, "either prompt or messages"),
        ({"prompt": 5}, "prompt is 5, not a text"),
        ({"messages": "a"}, "messages is"),
        ({"messages": [{"role": "king", "content": "a"}]}, r"messages\[0\]"),
        ({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}, "last message"),
        ({"messages": []}, "last message"),
        ({"prompt": "a", "tools": 4}, "tools is"),
        ({"prompt": "a", "sampling": 4}, "sampling is no JSON object"),
        ({"prompt": "a", "sampling": {"temprature": 1}}, "no field 'temprature'"),
        ({"prompt": "a", "sampling": {"temperature": "hot"}}, "not a number"),
        ({"prompt": "a", "sampling": {"seed": 1.5}}, "not a whole number"),
        ({"prompt": "a", "sampling": {"do_sample": 1}}, "neither true nor false"),
        ({"prompt": "a", "sampling": {"stop": 1}}, "neither a text"),
        ({"prompt": "a", "sampling": {"logit_bias": [1]}}, "not an object"),
        ({"body": {"messages": [{"role": "user", "content": "a"}], "n": 2}}, "no field 'n'"),
    ],
)
def test_what_is_wrong_with_a_line_is_said(row: Any, what: str) -> None:
    with pytest.raises(TunesmithError, match=what):
        read(row)


# -- resuming ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def source(tmp_path: Path) -> Path:
    file = tmp_path / "in.jsonl"
    file.write_text('{"prompt": "a"}\n\n{"prompt": "b"}\n{"prompt": "c"}')
    return file


def left(source: Path, written: str, settings: str = "s") -> tuple[list[int], str]:
    answers = source.with_name("out.jsonl")
    answers.write_text(written)
    numbers = [line.number for line in left_over(lines_of(source, settings), source, answers)]
    return numbers, answers.read_text()


def test_whole_lines_stay_and_half_a_line_goes(source: Path) -> None:
    first, second, third = (f"{{{head_of(line)}, 'rest'}}\n" for line in lines_of(source, "s"))
    assert left(source, "") == ([1, 3, 4], "")
    assert left(source, first) == ([3, 4], first)
    for half in (1, 10, len(second) - 1):
        assert left(source, first + second[:half]) == ([3, 4], first)
    assert left(source, first + second + third) == ([], first + second + third)


@pytest.mark.parametrize("foreign", ["somebody's notes\n", "somebody's notes", '{"line": 1, "of": "0000"}\n', "\n"])
def test_a_file_of_other_answers_is_left_alone(source: Path, foreign: str) -> None:
    with pytest.raises(TunesmithError, match=r"Line 1 of .* is no answer"):
        left(source, foreign)
    assert source.with_name("out.jsonl").read_text() == foreign


def test_answers_made_with_other_settings_do_not_count(source: Path) -> None:
    first = f"{{{head_of(next(lines_of(source, 'other')))}}}\n"
    with pytest.raises(TunesmithError, match="with these settings"):
        left(source, first)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(TunesmithError, match=r"nowhere\.jsonl cannot be read"):
        list(lines_of(tmp_path / "nowhere.jsonl", ""))
