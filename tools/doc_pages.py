"""Documentation pages as programs: what a reader would do who follows one from top to bottom.

A fence is run according to its language: ``bash`` by a shell, ``python`` by the interpreter, ``yaml`` by ``tunesmith plan``.
A fence with ``title="path"`` is written to that file instead, whatever its language. A ``text`` fence that follows one that ran
shows what it prints: each of its lines must occur in the output, with ``…`` for anything. Other languages are only shown.
A page that begins where another one ends says so: ``<!-- starts after: getting-started.md -->``.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

RUN = ("bash", "python", "yaml")
SHOWN = ("text", "toml", "json", "jsonl", "console", "jinja", "markdown", "sh")
_FENCE = re.compile(r"^(?P<indent> *)```(?P<info>[^`\n]*)\n(?P<code>.*?)^(?P=indent)```$", re.MULTILINE | re.DOTALL)
_TITLE = re.compile(r'title="([^"]+)"')
_AFTER = re.compile(r"<!-- starts after: (\S+) -->")
_END = "END-OF-FENCE"


@dataclass(frozen=True)
class Fence:
    """One block of code, with the line of the page it begins on."""

    line: int
    language: str
    title: str
    code: str

    @property
    def marker(self) -> str:
        """What the page's script prints before it runs the fence."""
        return f"@@ line {self.line}"

    def commands(self) -> str:
        """The fence as part of a shell script."""
        if self.title:
            path = Path(self.title)
            return f"mkdir -p {shlex.quote(str(path.parent))}\ncat > {shlex.quote(self.title)} {self._here()}"
        match self.language:
            case "bash":
                return f"echo '{self.marker}'\n{self.code}"
            case "python":
                return f"echo '{self.marker}'\npython - {self._here()}"
            case "yaml":
                return f"echo '{self.marker}'\ncat > plan-me.yaml {self._here()}tunesmith plan plan-me.yaml\nrm plan-me.yaml\n"
            case _:
                return ""

    def _here(self) -> str:
        return f"<<'{_END}'\n{self.code}{_END}\n"


@dataclass(frozen=True)
class Page:
    """A Markdown file."""

    path: Path

    @cached_property
    def text(self) -> str:
        """All of it."""
        return self.path.read_text(encoding="utf-8")

    @cached_property
    def fences(self) -> list[Fence]:
        """Its blocks of code in order."""
        return list(self._fences())

    def _fences(self) -> Iterator[Fence]:
        for match in _FENCE.finditer(self.text):
            language, _, rest = match["info"].strip().partition(" ")
            title = _TITLE.search(rest)
            indent = len(match["indent"])
            code = "".join(line[indent:] if line.strip() else line for line in match["code"].splitlines(keepends=True))
            yield Fence(self.text.count("\n", 0, match.start()) + 1, language, title[1] if title else "", code)

    @property
    def starts_after(self) -> Path | None:
        """The page whose end this one takes up, where it says so."""
        found = _AFTER.search(self.text)
        return self.path.parent / found[1] if found else None

    @property
    def runs(self) -> bool:
        """Whether anything on it is run."""
        return any(fence.language in RUN and not fence.title for fence in self.fences)

    def script(self) -> str:
        """The page as one shell script that stops at the first failure."""
        return "set -eo pipefail\nexec 2>&1\n" + "\n".join(fence.commands() for fence in self.fences)

    def expected(self) -> Iterator[tuple[Fence, Fence]]:
        """Each fence that runs and is followed by what it prints, with that text."""
        ran: Fence | None = None
        for fence in self.fences:
            if fence.language == "text" and not fence.title and ran is not None:
                yield ran, fence
            ran = fence if fence.language in RUN and not fence.title else None


def outputs(printed: str) -> dict[str, str]:
    """What a page's script printed, by the marker of the fence that printed it."""
    pieces = re.split(r"^(@@ line \d+)$", printed, flags=re.MULTILINE)
    return dict(zip(pieces[1::2], pieces[2::2], strict=True))


def missing_lines(expected: str, printed: str) -> list[str]:
    """The lines of ``expected`` that do not occur in ``printed``; ``…`` stands for anything."""
    said = [" ".join(line.split()) for line in printed.splitlines()]
    wanted = [" ".join(line.split()) for line in expected.splitlines() if line.strip(" …")]
    return [line for line in wanted if not any(_pattern(line).search(one) for one in said)]


def _pattern(line: str) -> re.Pattern[str]:
    return re.compile(".*".join(re.escape(piece.strip()) for piece in line.split("…")))
