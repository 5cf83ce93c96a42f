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


def test_how_much_is_thought_can_be_said(terminal: Terminal) -> None:
    terminal.press("/effort high" + ENTER)
    terminal.wait_for("reasoning effort: high")
    terminal.press("/effort odd" + ENTER)
    terminal.wait_for("there is no 'odd'")
    terminal.press("/effort" + ENTER)
    terminal.wait_for("reasoning effort: high")
    terminal.press("/effort -" + ENTER)
    terminal.wait_for("as the run says")


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


def test_calls_at_once_are_answered_one_by_one(terminal: Terminal) -> None:
    terminal.press("call twice" + ENTER)
    terminal.wait_for("city='Bergen'")
    terminal.press("/result rain" + ENTER)
    terminal.wait_for("tool call: get_weather(city='Bergen')")
    terminal.press("/result sun" + ENTER)
    terminal.wait_for("heard 4: sun")


def test_thoughts_are_folded_and_shown_when_asked_for(terminal: Terminal) -> None:
    terminal.press("think" + ENTER)
    folded = terminal.wait_for("It is odd.")
    assert "thought 3 words" in folded
    assert "seven is odd" not in folded
    terminal.press("/thoughts" + ENTER)
    terminal.wait_for("seven is odd")
    terminal.press("/markdown off" + ENTER)
    terminal.press("/thoughts on" + ENTER)
    terminal.press("think" + ENTER)
    assert "seven is odd" in terminal.wait_for("It is **odd**.")


def test_a_file_goes_before_the_next_turn(terminal: Terminal, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("remember the milk\n")
    terminal.press("/file notes.txt" + ENTER)
    terminal.wait_for("notes.txt goes before your next turn (1 lines).")
    terminal.press("/markdown off" + ENTER)
    terminal.press("what?" + ENTER)
    terminal.wait_for("remember the milk")
    terminal.press("and now" + ENTER)
    terminal.wait_for("heard 3: and now")


def test_a_conversation_is_saved_and_gone_on_with(terminal: Terminal) -> None:
    terminal.press("hello" + ENTER)
    terminal.wait_for("heard 1: hello")
    terminal.press("/save talk.jsonl" + ENTER)
    terminal.wait_for("Added to talk.jsonl")
    terminal.press("/clear" + ENTER)
    terminal.wait_for("starts anew")
    terminal.press("/load talk.jsonl" + ENTER)
    terminal.wait_for("Read 2 turns from talk.jsonl.")
    terminal.press("again" + ENTER)
    terminal.wait_for("heard 3: again")


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
    terminal.press(line + ENTER)
    terminal.wait_for(says)
    terminal.press("hello" + ENTER)
    terminal.wait_for("heard 1: hello")


def test_help_lists_every_word(terminal: Terminal) -> None:
    terminal.press("/help" + ENTER)
    shown = terminal.wait_for("Ctrl-C stops an answer.")
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
    terminal.press("/image ../photo.png" + ENTER)
    terminal.wait_for("lies outside")
    terminal.press("/image gone.png" + ENTER)
    terminal.wait_for("cannot be read")
    terminal.press("/image photo.png" + ENTER)
    terminal.wait_for("is shown with your next turn")
    terminal.press("look" + ENTER)
    terminal.wait_for("heard 1: [image of 5 bytes]look")
    terminal.press("again" + ENTER)
    terminal.wait_for("heard 3: again")
    terminal.press("/save talk.jsonl" + ENTER)
    terminal.wait_for("Added to talk.jsonl")
    row = json.loads((tmp_path / "talk.jsonl").read_text())
    shown, said = row["messages"][0]["content"]
    assert shown == {"type": "image", "image": str(tmp_path / "photo.png")}
    assert said == {"type": "text", "text": "look"}
    terminal.press("/load talk.jsonl" + ENTER)
    terminal.wait_for("Read 4 turns")
    (tmp_path / "photo.png").unlink()
    terminal.press("/load talk.jsonl" + ENTER)
    terminal.wait_for("photo.png cannot be read")
