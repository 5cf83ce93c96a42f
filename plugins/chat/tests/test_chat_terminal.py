"""The conversation in a real pseudo-terminal, keys pressed as a person presses them."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from .pseudo_terminal import ALT_ENTER, CTRL_C, CTRL_D, ENTER, UP, Terminal

PARROT = Path(__file__).with_name("parrot.py")


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    started = Terminal([sys.executable, str(PARROT)], tmp_path / "state", tmp_path)
    started.wait_for("Ctrl-D leaves.")
    started.wait_for(">")
    yield started
    started.close()


def test_it_answers_remembers_and_forgets(terminal: Terminal) -> None:
    terminal.press("hello" + ENTER)
    terminal.wait_for("heard 1: hello")
    terminal.press("again" + ENTER)
    terminal.wait_for("heard 3: again")
    terminal.press("/clear" + ENTER)
    terminal.wait_for("starts anew")
    terminal.press("/system Be brief." + ENTER)
    terminal.wait_for("system prompt: Be brief.")
    terminal.press("anew" + ENTER)
    terminal.wait_for("heard 2: anew")


def test_ctrl_c_stops_the_answer_and_not_the_program(terminal: Terminal) -> None:
    terminal.press("wait" + ENTER)
    terminal.wait_for("and so on and so on")
    terminal.press(CTRL_C)
    terminal.wait_for("(stopped)", seconds=5)
    terminal.press(CTRL_C)
    time.sleep(0.3)
    terminal.press("half a thought")
    terminal.wait_for("half a thought")
    terminal.press(CTRL_C)
    terminal.wait_for(">")
    terminal.press("next" + ENTER)
    terminal.wait_for("heard 3: next")
    assert terminal.process.poll() is None


@pytest.mark.parametrize("keys", [CTRL_D, "/exit" + ENTER])
def test_it_can_be_left(terminal: Terminal, keys: str) -> None:
    terminal.press(keys)
    terminal.wait_for("left in peace")
    assert terminal.end() == 0


def test_a_turn_may_have_several_lines(terminal: Terminal, tmp_path: Path) -> None:
    terminal.press("one" + ALT_ENTER + "two" + ENTER)
    terminal.wait_for("heard 1: one")
    terminal.press("/save talk.jsonl" + ENTER)
    terminal.wait_for("Added to talk.jsonl")
    row = json.loads((tmp_path / "talk.jsonl").read_text())
    assert row["messages"][0] == {"role": "user", "content": "one\ntwo"}


def test_earlier_lines_come_back_in_the_next_conversation(terminal: Terminal, tmp_path: Path) -> None:
    terminal.press("remember me" + ENTER)
    terminal.wait_for("heard 1: remember me")
    terminal.wait_for(">")
    terminal.press(CTRL_D)
    terminal.end()
    later = Terminal([sys.executable, str(PARROT)], tmp_path / "state", tmp_path)
    later.wait_for(">")
    later.press(UP + ENTER)
    later.wait_for("heard 1: remember me")
    later.close()


def test_tool_calls_are_shown_and_can_be_answered(terminal: Terminal) -> None:
    terminal.press("call" + ENTER)
    terminal.wait_for("tool call: get_weather(city='Oslo')")
    terminal.press("/result 12 degrees" + ENTER)
    terminal.wait_for("heard 3: 12 degrees")


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("/sistem x", "Did you mean '/system'?"),
        ("/save", "/save needs a file"),
        ("/save no/such/folder/x.jsonl", "cannot be written"),
        ("/result x", "asks for no tool"),
        ("say nothing", "There was no answer"),
        ("refuse", "The template cannot express this. Say something else."),
    ],
)
def test_a_mistake_is_named_and_the_conversation_goes_on(terminal: Terminal, line: str, says: str) -> None:
    terminal.press(line + ENTER)
    terminal.wait_for(says)
    terminal.press("hello" + ENTER)
    terminal.wait_for("heard 1: hello")


def test_help_lists_every_word(terminal: Terminal) -> None:
    terminal.press("/help" + ENTER)
    shown = terminal.wait_for("Ctrl-C stops an answer.")
    assert all(word in shown for word in ("/system", "/clear", "/result", "/save", "/help", "/exit"))
