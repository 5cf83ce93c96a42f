"""An answer as it comes: markdown block by block, thoughts folded into a line."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markdown import Markdown
from rich.text import Text as Styled
from tunesmith.data.conversation import Text, Thought, Turn

#: Seconds between two looks at what has been said.
PAUSE = 0.1
FENCES = ("```", "~~~")
#: What must not reach a terminal, since it would act on it: everything below space but tab and line feed, and DEL.
CONTROL = dict.fromkeys((*range(9), *range(11, 32), 127), "�")


class Painter:
    """Shows answers. ``markdown``: whether words are rendered; ``unfolded``: whether thoughts are shown."""

    def __init__(self, console: Console, read: Callable[[str], Turn]) -> None:
        self.console = console
        self.read = read
        self.markdown = True
        self.unfolded = False

    def paint(self, answer: Iterator[str]) -> None:
        """Show an answer until it ends or is broken off, and all that was said until then."""
        page, said, looked = _Page(self), "", 0.0
        with Live(console=self.console, transient=True, auto_refresh=False) as live:
            try:
                for text in answer:
                    said += text
                    if time.monotonic() - looked > PAUSE:
                        looked = time.monotonic()
                        live.update(page.look(self.read(said)), refresh=True)
            finally:
                live.update("", refresh=True)
                page.finish(self.read(said))

    def show(self, words: str) -> None:
        """Words, rendered or as they are."""
        clean = words.translate(CONTROL)
        self.console.print(Markdown(clean) if self.markdown else Styled(clean))

    def show_thought(self, thought: str) -> None:
        """A thought, set apart from the words."""
        self.console.print(Styled(thought.translate(CONTROL), "dim italic"))


class _Page:
    """What of one answer stands on the screen for good."""

    def __init__(self, painter: Painter) -> None:
        self.painter = painter
        self.printed = ""
        self.folded = False

    def look(self, turn: Turn) -> RenderableType:
        """Print what is complete, and return what changes still."""
        thought, words = thought_of(turn), words_of(turn)
        if not words.startswith(self.printed):  # its end mark has shown that all of it was thinking
            self.painter.console.print(Styled("(all of this was thinking)", "dim"))
            self.printed = ""
        if not words:
            return Styled(f"thinking … {len(thought.split())} words", "dim") if thought else ""
        self._fold(thought)
        self._print(words[: len(self.printed) + complete(words[len(self.printed) :])])
        rest = words[len(self.printed) :].translate(CONTROL).splitlines()
        room = max(1, self.painter.console.height - 4)
        return Group(*(Styled(line) for line in rest[-room:]))

    def finish(self, turn: Turn) -> None:
        """Print what is left."""
        if thought := thought_of(turn):
            self._fold(thought)
        words = words_of(turn)
        if not words.startswith(self.printed):
            self.printed = ""
        self._print(words)

    def _fold(self, thought: str) -> None:
        if not thought or self.folded:
            return
        self.folded = True
        if self.painter.unfolded:
            self.painter.show_thought(thought)
        else:
            self.painter.console.print(Styled(f"thought {len(thought.split())} words; /thoughts shows them", "dim"))

    def _print(self, words: str) -> None:
        new, self.printed = words[len(self.printed) :], words
        if new.strip():
            self.painter.show(new.strip("\n"))


def thought_of(turn: Turn) -> str:
    """All thoughts of a turn."""
    return "\n\n".join(part.text for part in turn.parts if isinstance(part, Thought))


def words_of(turn: Turn) -> str:
    """All words of a turn."""
    return "".join(part.text for part in turn.parts if isinstance(part, Text))


def complete(text: str) -> int:
    """How many characters of a text are blocks of markdown that nothing can be added to: up to the last empty line that is
    not in a code block."""
    end = place = 0
    fence = ""
    for line in text.splitlines(keepends=True):
        place += len(line)
        mark = line.lstrip()[:3]
        if mark in FENCES and fence in ("", mark):
            fence = "" if fence else mark
        elif not fence and not line.strip() and line.endswith("\n"):
            end = place
    return end
