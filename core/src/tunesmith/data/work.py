"""A block of rows → encoded sequences and counts: the pure part of preparing data, the same in one process or in many."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeAlias

from tunesmith.contracts import BadRow, Format, Renderer
from tunesmith.data.columns import fill
from tunesmith.data.conversation import Example, Media
from tunesmith.data.cutoff import PROMPT_TOO_LONG, TOO_LONG, Overflow, Shortened, shorten, split
from tunesmith.data.learning import SEQUENCES, Draft, Drafted, Learning, drafted, facts, learn_prompt, weigh, without_oldest
from tunesmith.data.media_runs import is_in_run, media_in
from tunesmith.data.report import BadRowReport, Tally
from tunesmith.data.store import Sequences
from tunesmith.data.tokens import Encoded, Encoder
from tunesmith.errors import TunesmithError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Row: TypeAlias = tuple[str, Mapping[str, Any]]
NOTHING = "nothing to learn"
SAME = "both answers are the same"
SAME_CUT = "both answers are the same once they are cut to cutoff_len"


@dataclass(frozen=True)
class Wishes:
    """How the rows of one dataset are prepared."""

    kind: str
    cutoff_len: int
    overflow: Overflow = "truncate"
    learning: Learning = field(default_factory=Learning)
    placeholders: Mapping[str, str] = field(default_factory=dict)

    @property
    def only_last(self) -> bool:
        """Whether only the last answer is learned, so that the history can be shortened from its beginning."""
        return self.learning.mask_history or self.kind in ("preference", "feedback", "prompt")


@dataclass
class Block:
    """What came of a block of rows. ``rows``: for each example the number of its row within the block; ``media``: what is seen
    in each, empty where the block is all text."""

    sequences: dict[str, Sequences]
    facts: list[bytes]
    tally: Tally
    rows: list[int] = field(default_factory=list)
    media: list[tuple[Media, ...]] = field(default_factory=list)


@dataclass(slots=True)
class _Row:
    """A row, or an answer of it, on its way. ``length``: tokens before anything was cut, of the longest sequence."""

    number: int
    place: str
    example: Example
    drafts: list[Draft]
    encoded: list[Encoded] = field(default_factory=list)
    length: int = 0
    only_last: bool = False


class Worker:
    """Prepares blocks of rows of one dataset."""

    def __init__(self, format: Format, renderer: Renderer | None, encoder: Encoder, wishes: Wishes) -> None:
        self._format = format
        self._renderer = renderer
        self._encoder = encoder
        self._wishes = wishes
        self._names = SEQUENCES[wishes.kind]

    def __call__(self, rows: Sequence[Row]) -> Block:
        """Prepare one block.

        :raises TunesmithError: a row is too long and ``overflow: error`` is set.
        """
        tally = Tally(rows_in=len(rows))
        read = [done for number, row in enumerate(rows) for done in self._read(number, row, tally)]
        flat = self._encoder.encode([draft.rendered for row in read for draft in row.drafts])
        each = len(self._names)
        for number, row in enumerate(read):
            row.encoded = flat[number * each : (number + 1) * each]
            row.length = max(map(len, row.encoded))
        kept = [(row, encoded) for row in read for encoded in self._fit(row, tally) if self._differ(row, encoded, tally)]
        return self._block(kept, read, tally)

    # -- reading -------------------------------------------------------------------------------------------------------

    def _read(self, number: int, placed: Row, tally: Tally) -> list[_Row]:
        place, row = placed
        tally.columns.update(row)
        if self._wishes.placeholders:
            row = fill(row, self._wishes.placeholders)
        try:
            example = self._format.read(row, self._wishes.kind)
            made = self._drafted(example)
        except BadRow as bad:
            column = (bad.column or "").partition("[")[0]
            tally.add_bad(BadRowReport(place, bad.column, bad.reason), f"bad row{f' ({column})' if column else ''}")
            return []
        alone = len(made) > 1
        tally.split_conversations += alone
        tally.system_left_out += any(draft.unsaid for one in made for draft in one.drafts)
        tally.stops_added += sum(any(draft.ended for draft in one.drafts) for one in made)
        return [_Row(number, place, one.example, one.drafts, only_last=alone or self._wishes.only_last) for one in made]

    def _drafted(self, example: Example) -> list[Drafted]:
        return drafted(example, self._renderer, self._encoder, self._wishes.learning)

    # -- fitting -------------------------------------------------------------------------------------------------------

    def _fit(self, row: _Row, tally: Tally) -> list[list[Encoded]]:
        """The examples that come of it: usually one, several for a long document, none when it is dropped."""
        limit, overflow = self._wishes.cutoff_len, self._wishes.overflow
        if row.length <= limit and all(draft.plain for draft in row.drafts) and all(encoded.learned for encoded in row.encoded):
            return [row.encoded]
        if row.length > limit:
            if overflow == "error":
                hint = "Raise cutoff_len, or write overflow: truncate or overflow: drop"
                raise TunesmithError(f"{row.place} has {row.length} tokens; cutoff_len is {limit}.", hint)
            if overflow == "drop":
                return self._drop(row, TOO_LONG, tally)
            if self._wishes.kind == "document":
                tally.split_documents += 1
                return [[part] for part in split(row.encoded[0], limit)]
        return self._shortened(row, tally)

    def _differ(self, row: _Row, encoded: list[Encoded], tally: Tally) -> bool:
        """Whether there is anything to prefer: two answers that are the same, or become it, are counted and left out."""
        if self._wishes.kind != "preference" or encoded[0].ids.tobytes() != encoded[1].ids.tobytes():
            return True
        whole = row.length == max(map(len, encoded))
        tally.dropped[SAME if whole else SAME_CUT] += 1
        return False

    def _shortened(self, row: _Row, tally: Tally) -> list[list[Encoded]]:
        limit, before = self._wishes.cutoff_len, sum(map(len, row.encoded))
        if row.length > limit and row.only_last:
            self._shorten_history(row, limit)
        both = [self._cut(encoded, draft, limit) for encoded, draft in zip(row.encoded, row.drafts, strict=True)]
        kept = [done.encoded for done in both if done.encoded is not None]
        if len(kept) < len(both) or any(map(_cuts_media, both, row.drafts)):
            self._note_prompt(row, tally)
            return self._drop(row, PROMPT_TOO_LONG, tally)
        if self._wishes.kind != "prompt" and not all(encoded.learned for encoded in kept):
            tally.nothing_to_learn += 1
            return self._drop(row, NOTHING, tally)
        lost = before - sum(map(len, kept))
        tally.truncated += lost > 0
        tally.answers_cut += any(done.answer_cut for done in both)
        tally.tokens_lost += lost
        return [kept]

    def _cut(self, encoded: Encoded, draft: Draft, limit: int) -> Shortened:
        weighed = weigh(encoded, draft)
        done = shorten(weighed, limit)
        if draft.prompt_too and done.encoded is not None:
            return replace(done, encoded=learn_prompt(done.encoded, encoded))
        return done

    def _shorten_history(self, row: _Row, limit: int) -> None:
        """Leave out the oldest exchanges until the row fits or none is left."""
        while max(map(len, row.encoded)) > limit and (shorter := without_oldest(row.example)) is not None:
            row.example = shorter
            (made,) = self._drafted(shorter)
            row.drafts = made.drafts
            row.encoded = self._encoder.encode([draft.rendered for draft in row.drafts])

    def _drop(self, row: _Row, reason: str, tally: Tally) -> list[list[Encoded]]:
        tally.dropped[reason] += 1
        if reason != NOTHING:
            tally.tokens_lost += row.length
        return []

    def _note_prompt(self, row: _Row, tally: Tally) -> None:
        starts = [0, *row.encoded[0].ends]
        weights = row.encoded[0].weights
        prompt = next((starts[i] for i, weight in enumerate(weights) if weight > 0), len(row.encoded[0]))
        tally.shortest_prompt = min(prompt, tally.shortest_prompt or prompt)

    # -- joining -------------------------------------------------------------------------------------------------------

    def _block(self, kept: Sequence[tuple[_Row, list[Encoded]]], read: Sequence[_Row], tally: Tally) -> Block:
        import numpy as np

        sequences = {name: Sequences.of([encoded[i] for _, encoded in kept]) for i, name in enumerate(self._names)}
        tally.kept = len(kept)
        tally.tokens = sum(len(part.ids) for part in sequences.values())
        tally.tokens_learned = sum(part.learned for part in sequences.values())
        tally.lengths.append(np.fromiter((row.length for row in read), np.int64, len(read)))
        media = _media_of(kept) if any(row.drafts[0].rendered.media for row, _ in kept) else []
        tally.digests.append(_digests((encoded for _, encoded in kept), media))
        known = [facts(row.example) for row, _ in kept]
        plain = [json.dumps(fact, ensure_ascii=False, default=str).encode() for fact in known if fact is not None]
        return Block(sequences, plain, tally, [row.number for row, _ in kept], media)


def _cuts_media(done: Shortened, draft: Draft) -> bool:
    """Whether a text ends within a run in which something is seen."""
    rendered = draft.rendered
    return bool(rendered.media and done.answer_cut and done.encoded and is_in_run(rendered, len(done.encoded.ends)))


def _media_of(kept: Sequence[tuple[_Row, list[Encoded]]]) -> list[tuple[Media, ...]]:
    return [media_in(row.drafts[0].rendered, len(encoded[0].ends)) for row, encoded in kept]


def _digests(rows: Iterable[list[Encoded]], media: Sequence[tuple[Media, ...]]) -> NDArray[np.uint64]:
    """Eight bytes for each example, equal when its tokens and what is seen in it are."""
    import numpy as np

    texts = (b"|".join(part.ids.tobytes() for part in row) for row in rows)
    if media:
        texts = (text + repr(seen).encode() for text, seen in zip(texts, media, strict=True))
    return np.frombuffer(b"".join(hashlib.blake2b(text, digest_size=8).digest() for text in texts), np.uint64)
