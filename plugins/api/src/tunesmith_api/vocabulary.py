"""Text and token ids beyond conversations: raw prompts, texts to embed and to score, the text of a single token."""

from __future__ import annotations

from collections.abc import Sequence

from tunesmith.data.conversation import Piece, Rendered
from tunesmith.data.tokens import Encoder

#: Stands before a token whose text is asked for, so that the tokenizer keeps the space that the token begins with.
ANCHOR = "a"


class Vocabulary:
    """What the server needs of the run's tokenizer beside the conversations that the engine encodes."""

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder
        self._files = encoder.files
        anchor = self._files.bare.encode(ANCHOR, add_special_tokens=False).ids
        self._anchor = list(anchor)
        self._before = len(self.decoded(self._anchor))

    def prompt(self, text: str) -> tuple[int, ...]:
        """A raw prompt: special tokens in it count, and what the tokenizer puts before every text is put before it."""
        ids = self._control(text)
        lead = self._files.lead
        return ids if ids[: len(lead)] == lead else (*lead, *ids)

    def scored(self, text: str) -> tuple[int, ...]:
        """A text that the template has written already: special tokens in it count, and nothing is put around it."""
        return self._control(text)

    def plain(self, text: str) -> tuple[int, ...]:
        """Somebody's words, with what the tokenizer itself puts around every text."""
        ids = tuple(self._files.plain.encode(text, add_special_tokens=True).ids)
        lead = self._files.lead
        return ids if ids[: len(lead)] == lead else (*lead, *ids)

    def has(self, id_: int) -> bool:
        """Whether there is such a token."""
        try:
            return id_ >= 0 and self._files.plain.id_to_token(id_) is not None
        except (OverflowError, IndexError):
            return False

    def text(self, id_: int) -> str:
        """The text of one token; a broken letter is U+FFFD."""
        return self.decoded([*self._anchor, id_])[self._before :]

    def decoded(self, ids: Sequence[int]) -> str:
        """The text of tokens, special ones included."""
        return self._files.plain.decode(list(ids), skip_special_tokens=False)

    def _control(self, text: str) -> tuple[int, ...]:
        return self._encoder.ids(Rendered((Piece(text, True),))) if text else ()
