"""Answers on a screen: markdown block by block, thoughts folded, nothing that a terminal would act on."""

from __future__ import annotations

import io
import random
from collections.abc import Iterator

import pytest
from rich.console import Console
from tunesmith.data.conversation import Text, Thought, Turn
from tunesmith.errors import TunesmithError
from tunesmith_chat.painter import Painter, complete

ANSWER = "# Title\n\nSome *words*.\n\n```python\nx = 1\n\ny = 2\n```\n\n- one\n- two\n"


def read(text: str) -> Turn:
    """A reader of thoughts whose opening tag the prompt may have written."""
    before, found, after = text.rpartition("</think>")
    if found:
        return Turn("assistant", (Thought(before.removeprefix("<think>")), Text(after.lstrip())))
    return Turn("assistant", (Thought(text[7:]),) if text.startswith("<think>") else (Text(text),))


def painter(height: int = 30) -> tuple[Painter, io.StringIO]:
    out = io.StringIO()
    return Painter(Console(file=out, width=60, height=height, highlight=False), read), out


def pieces(text: str, seed: int = 0) -> Iterator[str]:
    source, at = random.Random(seed), 0
    while at < len(text):
        size = source.randint(1, 7)
        yield text[at : at + size]
        at += size


def whole(text: str) -> str:
    there, out = painter()
    there.show(text)
    return out.getvalue()


@pytest.mark.parametrize("seed", range(5))
def test_in_whatever_pieces_it_comes_all_of_it_is_shown_once(monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    monkeypatch.setattr("tunesmith_chat.painter.PAUSE", 0)
    there, out = painter()
    there.paint(pieces(ANSWER, seed))
    assert out.getvalue().split() == whole(ANSWER).split()


def test_a_block_is_complete_at_an_empty_line_outside_of_code() -> None:
    assert complete("one line\n") == 0
    assert complete("one\n\ntwo\n") == 5
    text = "one\n\n```\ncode\n\nmore"
    assert complete(text) == 5
    assert complete(text + "\n```\n\n") == len(text) + 6
    assert complete("~~~\n```\n\n") == 0, "another kind of fence does not end it"


def test_thoughts_are_folded_and_can_be_unfolded() -> None:
    text = "<think>first this then that</think>\n\nThe answer."
    there, out = painter()
    there.paint(pieces(text))
    assert "thought 4 words" in out.getvalue()
    assert "first this" not in out.getvalue()
    assert "The answer." in out.getvalue()
    there.unfolded = True
    there.paint(pieces(text))
    assert "first this then that" in out.getvalue()


def test_what_turns_out_to_be_a_thought_is_said_to_be_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tunesmith_chat.painter.PAUSE", 0)
    there, out = painter()
    there.paint(iter(["so I think\n\n", "and think", "</think>\n\n", "Done."]))
    shown = out.getvalue()
    assert shown.index("all of this was thinking") < shown.index("thought 5 words") < shown.index("Done.")


def test_what_was_said_before_it_broke_off_stays() -> None:
    def broken() -> Iterator[str]:
        yield "half an "
        yield "answer"
        raise TunesmithError("the server ended")

    there, out = painter()
    with pytest.raises(TunesmithError):
        there.paint(broken())
    assert "half an answer" in out.getvalue()


@pytest.mark.parametrize("markdown", [True, False])
def test_a_model_cannot_drive_the_terminal(markdown: bool) -> None:
    there, out = painter()
    there.markdown = markdown
    there.paint(iter(["safe \x1b]0;owned\x07 text\x1b[2J \x7f"]))
    assert not {"\x1b", "\x07", "\x7f"} & set(out.getvalue())


def test_as_it_is_means_no_rendering() -> None:
    there, out = painter()
    there.markdown = False
    there.paint(iter(["**bold** and [link](x)\n# no title"]))
    assert "**bold** and [link](x)\n# no title" in out.getvalue()
