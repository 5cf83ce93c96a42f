"""Rendered pieces → token ids with loss weights, many rows at once.

A row is cut into *runs*: neighbouring pieces with one weight, joined before they are encoded, so that their ids are those of
the whole text. The border between two runs is always a border between tokens: it is where generation starts, and therefore
the ids of a prompt are a prefix of the ids of its training row. Within a run the template's special tokens become their ids,
and the *stretches* of text between them go to the tokenizer with the splitting of special tokens switched off, so that
nobody's text can forge one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from tunesmith.contracts import Renderer
from tunesmith.data.conversation import Conversation, Piece, Rendered, Text, Tokens, Turn
from tunesmith.data.tokenizer_files import TokenizerFiles, read_tokenizer
from tunesmith.errors import TunesmithError
from tunesmith.model_folder import find_model
from tunesmith.plan import Plan

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Ids: TypeAlias = NDArray[np.int32]

#: Stretches up to this many characters come again and again (role names, line breaks): their ids are remembered.
SHORT, REMEMBERED = 32, 65_536
NO_IDS: list[int] = []


@dataclass(slots=True)
class Encoded:
    """One row: ``ids`` (int32), and for each run the index at which it ends and its loss weight."""

    ids: Ids
    ends: list[int]
    weights: list[float]

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def learned(self) -> bool:
        """Whether any token has a weight above zero."""
        start = 0
        for end, weight in zip(self.ends, self.weights, strict=True):
            if weight > 0 and end > start:
                return True
            start = end
        return False

    @property
    def lengths(self) -> list[int]:
        """Tokens in each run."""
        return [end - start for start, end in zip([0, *self.ends], self.ends, strict=False)]

    def tokens(self) -> Tokens:
        """The same with one weight to each token."""
        import numpy as np

        return Tokens(self.ids, np.repeat(np.array(self.weights, np.float32), self.lengths))


# ---- reading pieces --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Special:
    """A special token in a control piece. ``left`` and ``right``: it swallows the blanks on that side."""

    ids: list[int]
    left: bool
    right: bool
    prefix_after: bool


@dataclass
class Batch:
    """Rows in the making. ``items`` are lists of ids in order; those in ``waiting`` are still text."""

    items: list[list[int]] = field(default_factory=list)
    texts: dict[bool, list[str]] = field(default_factory=lambda: {False: [], True: []})
    waiting: dict[bool, list[int]] = field(default_factory=lambda: {False: [], True: []})
    run_ends: list[int] = field(default_factory=list)
    weights: list[float] = field(default_factory=list)
    row_ends: list[int] = field(default_factory=list)


class Encoder:
    """Encodes rendered rows with one tokenizer."""

    def __init__(self, files: TokenizerFiles) -> None:
        self.files = files
        self.fingerprint = files.fingerprint
        self._find = _matcher(files)
        self._first_word = _word_matcher(files)
        self._control: dict[str, list[str | Special]] = {}
        self._short: dict[tuple[str, bool], list[int]] = {}

    def encode(self, rows: Sequence[Rendered]) -> list[Encoded]:
        """Encode rows in one batch of the tokenizer."""
        batch = Batch()
        reader = _Reader(self, batch)
        for row in rows:
            reader.read(row.pieces)
        for bare, tokenizer in ((False, self.files.plain), (True, self.files.bare)):
            found = tokenizer.encode_batch_fast(batch.texts[bare], add_special_tokens=False)
            items = batch.items
            for index, text, encoding in zip(batch.waiting[bare], batch.texts[bare], found, strict=True):
                items[index] = encoding.ids
                if len(text) <= SHORT and len(self._short) < REMEMBERED:
                    self._short[text, bare] = items[index]
        return _assemble(batch)

    def tokens(self, rendered: Rendered) -> Tokens:
        """Encode one row."""
        return self.encode([rendered])[0].tokens()

    def ids(self, rendered: Rendered) -> tuple[int, ...]:
        """The ids of one row, as an engine wants them."""
        return tuple(self.encode([rendered])[0].ids.tolist())

    def document(self, text: str) -> Rendered:
        """A document as it is learned: what the tokenizer puts before every text, the text, the end-of-sequence token.

        :raises TunesmithError: the tokenizer names no end-of-sequence token.
        """
        if not self.files.eos:
            folder = self.files.folder
            raise TunesmithError(
                f"{folder} names no end-of-sequence token.", f"Write eos_token into {folder}/tokenizer_config.json."
            )
        lead = "".join(str(self.files.plain.id_to_token(id_)) for id_ in self.files.lead)
        return Rendered((Piece(lead, True), Piece(text, False, 1.0), Piece(self.files.eos, True, 1.0)))

    def split_control(self, text: str) -> list[str | Special]:
        """A control piece as texts and special tokens in turn."""
        found = self._control.get(text)
        if found is None:
            found = self._find(text)
            if len(self._control) < REMEMBERED:
                self._control[text] = found
        return found

    def known(self, text: str, bare: bool) -> list[int] | None:
        """The ids of a short stretch that was seen before."""
        return self._short.get((text, bare))

    def first_word(self, text: str) -> int:
        """Where the first added word in ``text`` begins; its length when there is none."""
        match = self._first_word.search(text) if self._first_word else None
        return match.start() if match else len(text)


class _Reader:
    """Cuts the pieces of rows into runs and stretches.

    ``_text``: the stretch being gathered; ``_swallow``: the special token before it takes the blanks that follow;
    ``_prefixed``: a text that begins here gets a space in front, as the whole text would.
    """

    __slots__ = ("_after_special", "_batch", "_encoder", "_prefixed", "_spaced", "_swallow", "_text")

    def __init__(self, encoder: Encoder, batch: Batch) -> None:
        self._encoder = encoder
        self._batch = batch
        self._text: list[str] = []
        self._spaced = encoder.files.prefix != "never"
        self._after_special = encoder.files.prefix == "always"
        self._swallow = False
        self._prefixed = self._spaced

    def read(self, pieces: Sequence[Piece]) -> None:
        """Read one row."""
        batch, split = self._batch, self._encoder.split_control
        weight: float | None = None
        self._prefixed = self._spaced
        for piece in pieces:
            if not piece.text:
                continue
            if piece.weight != weight:
                self._end_run(weight)
                weight = piece.weight
            if not piece.control:
                self._add(piece.text)
                continue
            for part in split(piece.text):
                if isinstance(part, str):
                    self._add(part)
                else:
                    self._add_special(part)
        self._end_run(weight)
        batch.row_ends.append(len(batch.run_ends))

    def _add(self, text: str) -> None:
        if self._swallow:
            text = text.lstrip()
            self._swallow = not text
        self._text.append(text)

    def _add_special(self, token: Special) -> None:
        if self._text:
            self._end_stretch(token.left)
        self._batch.items.append(token.ids)
        self._swallow = token.right
        self._prefixed = self._after_special and token.prefix_after

    def _end_run(self, weight: float | None) -> None:
        if self._text:
            self._end_stretch(False)
        self._swallow = False
        if weight is not None:
            self._batch.run_ends.append(len(self._batch.items))
            self._batch.weights.append(weight)

    def _end_stretch(self, strip: bool) -> None:
        text = "".join(self._text)
        self._text.clear()
        if strip:
            text = text.rstrip()
        bare = self._spaced and not self._prefixed
        self._prefixed = False
        if bare and self._after_special:
            # A space would be put after an added word too, so the bare reading holds up to the first of them only.
            at = self._encoder.first_word(text)
            self._append(text[:at], True)
            self._append(text[at:], False)
        else:
            self._append(text, bare)

    def _append(self, text: str, bare: bool) -> None:
        if not text:
            return
        batch = self._batch
        ids = self._encoder.known(text, bare) if len(text) <= SHORT else None
        if ids is None:
            batch.waiting[bare].append(len(batch.items))
            batch.texts[bare].append(text)
            ids = NO_IDS
        batch.items.append(ids)


def _matcher(files: TokenizerFiles) -> Callable[[str], list[str | Special]]:
    """A function that finds special tokens in a control piece, the longest first where several begin."""
    tokens = {
        text: Special([id_], token.lstrip, token.rstrip, not (files.by_normalizer and token.normalized))
        for text, (id_, token) in files.special.items()
    }
    whole = {text for text, (_, token) in files.special.items() if token.single_word}
    ways = [
        rf"(?<!\w){re.escape(text)}(?!\w)" if text in whole else re.escape(text)
        for text in sorted(tokens, key=len, reverse=True)
    ]
    pattern = re.compile(f"({'|'.join(ways)})" if ways else r"($.)")

    def find(text: str) -> list[str | Special]:
        return [tokens[part] if i % 2 else part for i, part in enumerate(pattern.split(text)) if part]

    return find


def _word_matcher(files: TokenizerFiles) -> re.Pattern[str] | None:
    words = sorted(files.words, key=len, reverse=True)
    return re.compile("|".join(map(re.escape, words))) if words and files.prefix == "always" else None


def _assemble(batch: Batch) -> list[Encoded]:
    import numpy as np

    at = [0, *accumulate(map(len, batch.items))]
    ids = np.fromiter(chain.from_iterable(batch.items), np.int32, at[-1])
    rows: list[Encoded] = []
    first = start = 0
    for last in batch.row_ends:
        ends = [at[item] - start for item in batch.run_ends[first:last]]
        end = start + ends[-1] if ends else start
        rows.append(Encoded(ids[start:end], ends, batch.weights[first:last]))
        first, start = last, end
    return rows


# ---- the tokenizer of a run ------------------------------------------------------------------------------------------

_SAMPLE = Conversation((Turn("user", (Text("a"),)), Turn("assistant", (Text("b"),)), Turn("user", (Text("c"),))))


def tokenizer_folder(plan: Plan) -> Path:
    """The folder of the policy's tokenizer.

    :raises TunesmithError: the model is not on this machine.
    """
    wish = plan.models["policy"]
    place = find_model(
        str(wish.path), revision=_setting(plan, "model_revision") or "main", cache_dir=_setting(plan, "cache_dir")
    )
    if place.folder is None:
        raise TunesmithError(f"{wish.path}: {place.reason}.", place.hint)
    return place.folder


def make_encoder(plan: Plan, renderer: Renderer | None) -> Encoder:
    """The encoder of a run: the policy's tokenizer with the tokens that the run adds.

    :param renderer: the run's renderer; what it marks turns with cannot be written by anybody else.
    :raises TunesmithError: the model is not here, or has no fast tokenizer.
    """
    folder = tokenizer_folder(plan)
    add, special = _setting(plan, "add_tokens") or (), _setting(plan, "add_special_tokens") or ()
    files = read_tokenizer(folder, add=add, add_special=special)
    marks = _marks(renderer, files.words) if renderer else set()
    return Encoder(read_tokenizer(folder, add=add, add_special=special, marks=marks) if marks else files)


def _setting(plan: Plan, key: str) -> Any:
    return plan[key] if key in plan.settings else None


def _marks(renderer: Renderer, words: frozenset[str]) -> set[str]:
    """The added words that the template itself writes around the turns of a plain conversation."""
    control = "\0".join(piece.text for piece in renderer.render(_SAMPLE, generation_prompt=True).pieces if piece.control)
    return {word for word in words if word in control and not word.isspace()}
