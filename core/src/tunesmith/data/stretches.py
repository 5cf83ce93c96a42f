"""Rendered pieces → runs, stretches of text and ids of special tokens.

What a template writes comes back again and again, so its control pieces are read once, and the ids of short stretches (role
names, line breaks) are remembered.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

from tunesmith.data.conversation import Piece
from tunesmith.data.tokenizer_files import TokenizerFiles

#: Stretches and control pieces up to so many characters are remembered, and so many of them.
SHORT, SHORT_CONTROL, REMEMBERED = 32, 512, 65_536
NO_IDS: list[int] = []


@dataclass(frozen=True, slots=True)
class Special:
    """A special token as a control piece has it. ``left``, ``right``: it swallows the blanks on that side."""

    id: int
    left: bool
    right: bool
    prefix_after: bool


@dataclass(slots=True)
class Control:
    """A control piece, read once: text, then ``ids`` from its first special token to its last, then text.

    :param left: the first special token swallows the blanks before it.
    :param swallow: the last one swallows blanks, and there is nothing after it but those.
    :param prefixed: a text that begins after the last one gets a space in front.
    """

    head: str
    ids: list[int]
    tail: str
    left: bool
    swallow: bool
    prefixed: bool


@dataclass
class Batch:
    """Rows in the making. ``items`` are lists of ids in order, or encodings with such; those in ``waiting`` are still text."""

    items: list[Any] = field(default_factory=list)
    texts: dict[bool, list[str]] = field(default_factory=lambda: {False: [], True: []})
    waiting: dict[bool, list[int]] = field(default_factory=lambda: {False: [], True: []})
    run_ends: list[int] = field(default_factory=list)
    weights: list[float] = field(default_factory=list)
    row_ends: list[int] = field(default_factory=list)


class Splitter:
    """How the pieces of a tokenizer's rows are cut up. ``short``: ids of short stretches, by text and whether bare."""

    def __init__(self, files: TokenizerFiles) -> None:
        self.files = files
        self.short: dict[tuple[str, bool], list[int]] = {}
        self._find = _matcher(files)
        self._first_word = _word_matcher(files)
        self._controls: dict[str, Control | None] = {}

    def control(self, text: str) -> Control | None:
        """A control piece, read; ``None`` when it holds no special token and is text like any other."""
        if text in self._controls:
            return self._controls[text]
        found = self._control(self._find(text))
        if len(text) <= SHORT_CONTROL and len(self._controls) < REMEMBERED:
            self._controls[text] = found
        return found

    def first_word(self, text: str) -> int:
        """Where the first added word in ``text`` begins; its length when there is none."""
        match = self._first_word.search(text) if self._first_word else None
        return match.start() if match else len(text)

    def _control(self, parts: list[str | Special]) -> Control | None:
        at = [number for number, part in enumerate(parts) if not isinstance(part, str)]
        if not at:
            return None
        batch = Batch()
        reader = Reader(self, batch)
        for part in parts[at[0] : at[-1] + 1]:
            if isinstance(part, str):
                reader.add(part)
            else:
                reader.add_special(part)
        first, last = parts[at[0]], parts[at[-1]]
        assert isinstance(first, Special)
        assert isinstance(last, Special)
        head, tail = str(parts[0]) if at[0] else "", "".join(map(str, parts[at[-1] + 1 :]))
        tail = tail.lstrip() if last.right else tail
        return Control(head, self._encoded(batch), tail, first.left, last.right and not tail, reader.prefixed)

    def _encoded(self, batch: Batch) -> list[int]:
        for bare, tokenizer in ((False, self.files.plain), (True, self.files.bare)):
            for index, text in zip(batch.waiting[bare], batch.texts[bare], strict=True):
                batch.items[index] = tokenizer.encode(text, add_special_tokens=False).ids
        return list(chain.from_iterable(batch.items))


class Reader:
    """Cuts the pieces of rows into runs and stretches.

    ``_text``: the stretch being gathered; ``_swallow``: the special token before it takes the blanks that follow;
    ``prefixed``: a text that begins here gets a space in front, as the whole text would.
    """

    __slots__ = ("_after_special", "_batch", "_spaced", "_splitter", "_swallow", "_text", "prefixed")

    def __init__(self, splitter: Splitter, batch: Batch) -> None:
        self._splitter = splitter
        self._batch = batch
        self._text: list[str] = []
        self._spaced = splitter.files.prefix != "never"
        self._after_special = splitter.files.prefix == "always"
        self._swallow = False
        self.prefixed = self._spaced

    def read(self, pieces: Sequence[Piece]) -> None:
        """Read one row."""
        batch, gathered = self._batch, self._text
        weight: float | None = None
        self.prefixed = self._spaced
        for piece in pieces:
            text = piece.text
            if not text:
                continue
            if piece.weight != weight:
                self._end_run(weight)
                weight = piece.weight
            control = self._splitter.control(text) if piece.control else None
            if control is not None:
                self._add_control(control)
            elif self._swallow:
                self.add(text)
            else:
                gathered.append(text)
        self._end_run(weight)
        batch.row_ends.append(len(batch.run_ends))

    def add(self, text: str) -> None:
        """Text, without the blanks that a special token before it swallows."""
        if self._swallow:
            text = text.lstrip()
            self._swallow = not text
        if text:
            self._text.append(text)

    def add_special(self, token: Special) -> None:
        """One special token."""
        if self._text:
            self._end_stretch(token.left)
        self._batch.items.append([token.id])
        self._swallow = token.right
        self.prefixed = self._after_special and token.prefix_after

    def _add_control(self, control: Control) -> None:
        if control.head:
            self.add(control.head)
        if self._text:
            self._end_stretch(control.left)
        self._batch.items.append(control.ids)
        self._swallow = control.swallow
        self.prefixed = control.prefixed
        if control.tail:
            self._text.append(control.tail)

    def _end_run(self, weight: float | None) -> None:
        if self._text:
            self._end_stretch(False)
        self._swallow = False
        if weight is not None:
            batch = self._batch
            batch.run_ends.append(len(batch.items))
            batch.weights.append(weight)

    def _end_stretch(self, strip: bool) -> None:
        text = "".join(self._text)
        self._text.clear()
        if strip:
            text = text.rstrip()
        bare = self._spaced and not self.prefixed
        self.prefixed = False
        if bare and self._after_special:
            # A space would be put after an added word too, so the bare reading holds up to the first of them only.
            at = self._splitter.first_word(text)
            self._append(text[:at], True)
            self._append(text[at:], False)
        else:
            self._append(text, bare)

    def _append(self, text: str, bare: bool) -> None:
        if not text:
            return
        batch = self._batch
        ids = self._splitter.short.get((text, bare)) if len(text) <= SHORT else None
        if ids is None:
            batch.waiting[bare].append(len(batch.items))
            batch.texts[bare].append(text)
            ids = NO_IDS
        batch.items.append(ids)


def _matcher(files: TokenizerFiles) -> Callable[[str], list[str | Special]]:
    """A function that finds special tokens in a control piece, the longest first where several begin."""
    tokens = {
        text: Special(id_, token.lstrip, token.rstrip, not (files.by_normalizer and token.normalized))
        for text, (id_, token) in files.special.items()
    }
    whole = {text for text, (_, token) in files.special.items() if token.single_word}
    longest = sorted(tokens, key=len, reverse=True)
    ways = [rf"(?<!\w){re.escape(text)}(?!\w)" if text in whole else re.escape(text) for text in longest]
    pattern = re.compile(f"({'|'.join(ways)})" if ways else r"($.)")

    def find(text: str) -> list[str | Special]:
        return [tokens[part] if i % 2 else part for i, part in enumerate(pattern.split(text)) if part]

    return find


def _word_matcher(files: TokenizerFiles) -> re.Pattern[str] | None:
    words = sorted(files.words, key=len, reverse=True)
    return re.compile("|".join(map(re.escape, words))) if words and files.prefix == "always" else None
