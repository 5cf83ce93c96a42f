"""Token ids → text as it comes: no half letters, no stop strings."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

UNFINISHED = "\ufffd"


@dataclass
class Letters:
    """Decodes one answer token by token; the texts put together are what decoding all tokens at once gives.

    (They may differ where tokens are bytes that make up no letter: decoding those at once takes back letters beside them.)
    A token that ends in the middle of a letter is held back until the letter is whole. Each step decodes only from the
    last token that was shown, so a long answer costs no more per token than a short one.
    """

    tokenizer: PreTrainedTokenizerBase
    hidden: frozenset[int] = frozenset()
    """Ids that have no text."""
    _ids: list[int] = field(default_factory=list)
    _start: int = 0
    _shown: int = 0

    def add(self, token: int) -> str:
        """The text that became certain with this token."""
        if token in self.hidden:
            return ""
        self._ids.append(token)
        before, now = self._decode(self._shown), self._decode(len(self._ids))
        if now.endswith(UNFINISHED) or len(now) <= len(before):
            return ""
        self._start, self._shown = self._shown, len(self._ids)
        return now[len(before) :]

    def rest(self) -> str:
        """What is still held back, broken letters included."""
        before, now = self._decode(self._shown), self._decode(len(self._ids))
        self._start = self._shown = len(self._ids)
        return now[len(before) :]

    def _decode(self, end: int) -> str:
        ids = self._ids[self._start : end]
        text = self.tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)
        return text if isinstance(text, str) else "".join(text)


@dataclass
class Stops:
    """Lets text through until one of the stop strings appears; holds back what may turn out to be the start of one."""

    strings: tuple[str, ...]
    _held: str = ""

    def add(self, text: str) -> tuple[str, bool]:
        """The text that may be shown, and whether a stop string was found; it and what follows are never shown."""
        self._held += text
        found = [at for at in (self._held.find(stop) for stop in self.strings) if at >= 0]
        if found:
            shown, self._held = self._held[: min(found)], ""
            return shown, True
        keep = max((_overlap(self._held, stop) for stop in self.strings), default=0)
        border = len(self._held) - keep
        shown, self._held = self._held[:border], self._held[border:]
        return shown, False

    def rest(self) -> str:
        """What was held back and turned out to be no stop string."""
        shown, self._held = self._held, ""
        return shown


def _overlap(text: str, stop: str) -> int:
    """Length of the longest end of ``text`` that is a start of ``stop``."""
    longest = min(len(text), len(stop) - 1)
    return next((size for size in range(longest, 0, -1) if text.endswith(stop[:size])), 0)
