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
    terminal.enter("hello", "heard 1: hello")
    terminal.enter("again", "heard 3: again")
    terminal.enter("/clear", "starts anew")
    terminal.enter("/system Be brief.", "system prompt: Be brief.")
    terminal.enter("anew", "heard 2: anew")


def test_how_much_is_thought_can_be_said(terminal: Terminal) -> None:
    terminal.enter("/effort high", "reasoning effort: high")
    terminal.enter("/effort odd", "there is no 'odd'")
    terminal.enter("/effort", "reasoning effort: high")
    terminal.enter("/effort -", "as the run says")


def test_ctrl_c_stops_the_answer_and_not_the_program(terminal: Terminal) -> None:
    terminal.enter("wait", "and so on and so on")
    terminal.press(CTRL_C)
    terminal.wait_for("(stopped)", seconds=5)
    terminal.press(CTRL_C)
    time.sleep(0.3)
    terminal.press("half a thought")
    terminal.wait_for("half a thought")
    terminal.press(CTRL_C)
    terminal.wait_for(">")
    terminal.enter("next", "heard 3: next")
    assert terminal.process.poll() is None


@pytest.mark.parametrize("keys", [CTRL_D, "/exit" + ENTER])
def test_it_can_be_left(terminal: Terminal, keys: str) -> None:
    terminal.press(keys)
    terminal.wait_for("left in peace")
    assert terminal.end() == 0


def test_a_turn_may_have_several_lines(terminal: Terminal, tmp_path: Path) -> None:
    terminal.enter("one" + ALT_ENTER + "two", "heard 1: one")
    terminal.enter("/save talk.jsonl", "Added to talk.jsonl")
    row = json.loads((tmp_path / "talk.jsonl").read_text())
    assert row["messages"][0] == {"role": "user", "content": "one\ntwo"}


def test_earlier_lines_come_back_in_the_next_conversation(terminal: Terminal, tmp_path: Path) -> None:
    terminal.enter("remember me", "heard 1: remember me")
    terminal.wait_for(">")
    terminal.press(CTRL_D)
    terminal.end()
    later = Terminal([sys.executable, str(PARROT)], tmp_path / "state", tmp_path)
    later.wait_for(">")
    later.press(UP + ENTER)
    later.wait_for("heard 1: remember me")
    later.close()


def test_tool_calls_are_shown_and_can_be_answered(terminal: Terminal) -> None:
    terminal.enter("call", "tool call: get_weather(city='Oslo')")
    terminal.enter("/result 12 degrees", "heard 3: 12 degrees")


def test_calls_at_once_are_answered_one_by_one(terminal: Terminal) -> None:
    terminal.enter("call twice", "city='Bergen'")
    terminal.enter("/result rain", "tool call: get_weather(city='Bergen')")
    terminal.enter("/result sun", "heard 4: sun")


def test_thoughts_are_folded_and_shown_when_asked_for(terminal: Terminal) -> None:
    folded = terminal.enter("think", "It is odd.")
    assert "thought 3 words" in folded
    assert "seven is odd" not in folded
    terminal.enter("/thoughts", "seven is odd")
    terminal.press("/markdown off" + ENTER)
    terminal.press("/thoughts on" + ENTER)
    assert "seven is odd" in terminal.enter("think", "It is **odd**.")


def test_a_file_goes_before_the_next_turn(terminal: Terminal, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("remember the milk\n")
    terminal.enter("/file notes.txt", "notes.txt goes before your next turn (1 lines).")
    terminal.press("/markdown off" + ENTER)
    terminal.enter("what?", "remember the milk")
    terminal.enter("and now", "heard 3: and now")


def test_a_conversation_is_saved_and_gone_on_with(terminal: Terminal) -> None:
    terminal.enter("hello", "heard 1: hello")
    terminal.enter("/save talk.jsonl", "Added to talk.jsonl")
    terminal.enter("/clear", "starts anew")
    terminal.enter("/load talk.jsonl", "Read 2 turns from talk.jsonl.")
    terminal.enter("again", "heard 3: again")


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("/file ../x", "lies outside of"),
        ("/load nothing.jsonl", "cannot be read"),
        ("/thoughts", "holds no thought"),
        ("/markdown perhaps", "is on or off"),
        ("/sistem x", "Did you mean '/system'?"),
        ("/save", "/save needs a file"),
        ("/save no/such/folder/x.jsonl", "cannot be written"),
        ("/result x", "asks for no tool"),
        ("say nothing", "There was no answer"),
        ("refuse", "The template cannot express this. Say something else."),
    ],
)
def test_a_mistake_is_named_and_the_conversation_goes_on(terminal: Terminal, line: str, says: str) -> None:
    terminal.enter(line, says)
    terminal.enter("hello", "heard 1: hello")


def test_help_lists_every_word(terminal: Terminal) -> None:
    shown = terminal.enter("/help", "Ctrl-C stops an answer.")
    assert all(
        word in shown
        for word in (
            "/system",
            "/clear",
            "/file",
            "/tools",
            "/result",
            "/thoughts",
            "/markdown",
            "/save",
            "/load",
            "/help",
            "/exit",
        )
    )


def test_an_image_is_shown_with_the_next_turn_saved_and_shown_again(terminal: Terminal, tmp_path: Path) -> None:
    (tmp_path / "photo.png").write_bytes(b"12345")
    terminal.enter("/image ../photo.png", "lies outside")
    terminal.enter("/image gone.png", "cannot be read")
    terminal.enter("/image photo.png", "is shown with your next turn")
    terminal.enter("look", "heard 1: [image of 5 bytes]look")
    terminal.enter("again", "heard 3: again")
    terminal.enter("/save talk.jsonl", "Added to talk.jsonl")
    row = json.loads((tmp_path / "talk.jsonl").read_text())
    shown, said = row["messages"][0]["content"]
    assert shown == {"type": "image", "image": str(tmp_path / "photo.png")}
    assert said == {"type": "text", "text": "look"}
    terminal.enter("/load talk.jsonl", "Read 4 turns")
    (tmp_path / "photo.png").unlink()
    terminal.enter("/load talk.jsonl", "photo.png cannot be read")
