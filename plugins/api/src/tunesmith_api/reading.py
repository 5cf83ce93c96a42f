"""An answer's text as it comes → thoughts, words and calls, each shown as soon as it is certain what it is."""

from __future__ import annotations

from dataclasses import dataclass

from tunesmith.contracts import Renderer
from tunesmith.data.conversation import Call, Text, Thought, Turn

from tunesmith_api.marks import Marks
from tunesmith_api.tool_choice import Choice

#: Marks of calls that are no longer than this are brackets.
SHORT = 2


@dataclass(frozen=True)
class News:
    """What has become certain."""

    thought: str = ""
    words: str = ""
    calls: tuple[Call, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.thought or self.words or self.calls)


class Reader:
    """Reads one answer by the renderer's own ``parse_reply``, which also reads the part that has come so far.

    Held back is what may turn out to be the beginning of a mark, white space at the end, and everything from the first call on.
    """

    def __init__(self, renderer: Renderer, marks: Marks, choice: Choice) -> None:
        self._renderer = renderer
        self._marks = marks
        self._choice = choice
        self._text = marks.opening + "\n" if marks.opened and choice.forced is None else ""
        self._thought = ""
        self._words = ""

    def add(self, text: str) -> News:
        """What is certain once ``text`` has come."""
        self._text += text
        if self._choice.forced is not None:
            return News()
        thought, words, _ = self._parts(self._certain())
        return self._news(thought.rstrip(), words.rstrip(), ())

    def whole(self, text: str) -> News:
        """All of an answer at once."""
        self._text += text
        return self.end()

    def end(self) -> News:
        """The rest, once all has come."""
        if self._choice.forced is not None:
            return self._forced()
        thought, words, calls = self._parts(self._text)
        return self._news(thought, words, calls[:1] if self._choice.single else calls)

    def _forced(self) -> News:
        call = self._choice.read(self._text)
        return News("", self._text) if call is None else News("", "", (call,))

    def _parts(self, text: str) -> tuple[str, str, tuple[Call, ...]]:
        tools = self._choice.tools
        turn: Turn = self._renderer.parse_reply(text, tools)
        thought = "".join(part.text for part in turn.parts if isinstance(part, Thought))
        words = "".join(part.text for part in turn.parts if isinstance(part, Text))
        calls = tuple(part for part in turn.parts if isinstance(part, Call))
        if calls and not tools:  # it only looks like a call
            return thought, text.rpartition(self._marks.closing)[2].lstrip("\n") if thought else text, ()
        return thought, words, calls

    def _certain(self) -> str:
        text, marks = self._text, self._marks
        if self._choice.tools and marks.calls:
            called = text.find(marks.call, self._end_of_thought())
            text = text[:called] if called >= 0 else text
        return text[: len(text) - max((_overlap(text, mark) for mark in marks.all), default=0)]

    def _end_of_thought(self) -> int:
        """From where on calls are looked for: a thought may well hold a brace, and hardly a mark of several letters."""
        closed = self._text.find(self._marks.closing) if self._marks.closing else -1
        if closed >= 0:
            return closed + len(self._marks.closing)
        thinks = bool(self._marks.opening) and self._text.lstrip().startswith(self._marks.opening)
        return len(self._text) if thinks and len(self._marks.call) <= SHORT else 0

    def _news(self, thought: str, words: str, calls: tuple[Call, ...]) -> News:
        """What is new; of a part that reads otherwise now than before, all that follows."""
        more_thought = "" if self._words else _grown(self._thought, thought)
        self._thought += more_thought
        more_words = _grown(self._words, words)
        self._words += more_words
        return News(more_thought, more_words, calls)


def _grown(before: str, now: str) -> str:
    if now.startswith(before):
        return now[len(before) :]
    return "" if before.startswith(now) else now


def _overlap(text: str, mark: str) -> int:
    """Length of the longest end of ``text`` that is a start of ``mark``, and not all of it."""
    longest = min(len(text), len(mark) - 1)
    return next((size for size in range(longest, 0, -1) if text.endswith(mark[:size])), 0)
