"""Talking from a script: answers on standard output and nothing else."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from tunesmith import TunesmithError
from tunesmith_chat.command import read_tools
from tunesmith_chat.record import save
from tunesmith_chat.script import answer_lines, answer_prompts

from .parrot import dialogue


def test_each_prompt_is_a_further_turn(capsys: pytest.CaptureFixture[str]) -> None:
    answer_prompts(dialogue(), ["hello", "and again"], as_json=False)
    out = capsys.readouterr()
    assert out.out == "heard 1: hello\nheard 3: and again\n"
    assert out.err == ""


def test_lines_are_turns_and_clear_starts_anew(capsys: pytest.CaptureFixture[str]) -> None:
    answer_lines(dialogue("Be brief."), io.StringIO("one\n\ntwo\n/clear\nthree\n"), as_json=False)
    assert capsys.readouterr().out == "heard 2: one\nheard 4: two\nheard 2: three\n"


def test_json_says_how_the_answer_ended_and_what_it_calls(capsys: pytest.CaptureFixture[str]) -> None:
    answer_prompts(dialogue(), ["hé", "call"], as_json=True)
    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert first == {
        "prompt": "hé",
        "text": "heard 1: hé",
        "finish": "stop",
        "message": {"role": "assistant", "content": "heard 1: hé"},
    }
    function = second["message"]["tool_calls"][0]["function"]
    assert function == {"name": "get_weather", "arguments": '{"city": "Oslo"}'}


def test_a_saved_conversation_is_a_row_of_training_data(tmp_path: Path) -> None:
    talk = dialogue("Be kind.")
    for _ in range(2):
        list(talk.say("hi"))
        save(talk.conversation, tmp_path / "talk.jsonl")
    first, second = map(json.loads, (tmp_path / "talk.jsonl").read_text().splitlines())
    assert [turn["role"] for turn in first["messages"]] == ["system", "user", "assistant"]
    assert second["messages"][:3] == first["messages"]


@pytest.mark.parametrize("text", ["{", '{"name": "x"}', "[1]", None])
def test_a_tools_file_that_holds_none_is_refused(tmp_path: Path, text: str | None) -> None:
    file = tmp_path / "tools.json"
    if text is not None:
        file.write_text(text)
    with pytest.raises(TunesmithError, match=r"tools\.json"):
        read_tools(file)


def test_a_tools_file_is_kept_word_for_word(tmp_path: Path) -> None:
    tools = [{"type": "function", "function": {"name": "add", "parameters": {}}}]
    (tmp_path / "tools.json").write_text(json.dumps(tools))
    assert read_tools(tmp_path / "tools.json") == tuple(tools)
