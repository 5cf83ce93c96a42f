"""The answer to one request while its tokens come: its text, its end, and what ends it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tunesmith.contracts import Delta, Request
from tunesmith.generation import TokenLogprob
from tunesmith.model_folder import read_json
from tunesmith.runtime.answer_text import Letters, Stops

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass
class Answer:
    """The answer to one request as far as it has come. ``room``: how many tokens it may have."""

    request: Request
    letters: Letters
    stops: Stops
    ends: frozenset[int]
    room: int
    count: int = 0
    finish: str | None = None

    def add(self, token: int, logprob: TokenLogprob | None = None) -> Delta:
        """Take up the next token. A token that ends the answer has an id and no text."""
        self.count += 1
        logprobs = (logprob,) if logprob is not None else ()
        if token in self.ends:
            return self._end("stop", (token,), logprobs=logprobs)
        text, found = self.stops.add(self.letters.add(token))
        if found:
            self.finish = "stop"
        elif self.count >= self.room:
            return self._end("length", (token,), text, logprobs)
        return Delta(self.request.id, (token,), text, self.finish, logprobs)

    def end(self, finish: str) -> Delta:
        """End it here, with the text that was held back."""
        return self._end(finish, ())

    def cancel(self) -> Delta:
        """Break it off here."""
        return self._end("cancelled", ())

    def _end(self, finish: str, ids: tuple[int, ...], text: str = "", logprobs: tuple[TokenLogprob, ...] = ()) -> Delta:
        more, found = self.stops.add(self.letters.rest())
        rest = "" if found else self.stops.rest()
        self.finish = "stop" if found else finish
        return Delta(self.request.id, ids, text + more + rest, self.finish, logprobs)


def ends_in(folder: Path, tokenizer: PreTrainedTokenizerBase, stop: Sequence[str]) -> tuple[frozenset[int], tuple[str, ...]]:
    """What ends an answer, as token ids and as strings, where the model itself is somewhere else.

    These are the template's stop words, the tokenizer's end and those that ``generation_config.json`` in ``folder`` names.
    """
    named = read_json(folder, "generation_config.json").get("eos_token_id")
    vocabulary = tokenizer.get_vocab()
    ids = {tokenizer.eos_token_id, *(named if isinstance(named, list) else [named])}
    ids |= {vocabulary[word] for word in stop if word in vocabulary}
    return frozenset(id_ for id_ in ids if id_ is not None), tuple(word for word in stop if word not in vocabulary)
