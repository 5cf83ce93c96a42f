"""Tokenizers without a ``tokenizer.json``: transformers reads them, and converts most; the rest encode one text at a time.

This is the one place of the data road that imports transformers, and only for such a tokenizer.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunesmith.data.tokenizer_files import FILE, TokenizerFiles, fingerprint
from tunesmith.errors import TunesmithError

if TYPE_CHECKING:
    from tokenizers import AddedToken

#: Texts after which another one is encoded to see what it is without a space in front; tried in turn.
ANCHORS = ("\n", "。", "!", "0", "=", "|", "é", "中")


def find_tokenizer(folder: Path, *, own_code: bool) -> Any:
    """Whatever tokenizer transformers finds in a model folder.

    :raises TunesmithError: it finds none.
    """
    from transformers import AutoTokenizer

    try:
        found = AutoTokenizer.from_pretrained(folder, trust_remote_code=own_code)
    except (ValueError, OSError, TypeError, ImportError, KeyError, AttributeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise TunesmithError(
            f"{folder} holds no {FILE}, and transformers cannot read another tokenizer there: {reason}",
            "Save one there with save_pretrained of transformers; one with code of its own needs trust_remote_code: true.",
        ) from error
    if len(found.get_vocab()) <= len(found.added_tokens_decoder):  # made of nothing, for want of a file
        hint = "Copy the tokenizer's files of the model it came from, tokenizer.json among them."
        raise TunesmithError(f"{folder} holds no tokenizer: its vocabulary is empty.", hint)
    return found


def read_slow(
    folder: Path, tokenizer: Any, *, add: Sequence[str], add_special: Sequence[str], marks: Iterable[str]
) -> TokenizerFiles:
    """The parts of a tokenizer that is not fast, with the same promises as those of a fast one.

    :raises TunesmithError: it cannot encode a text that goes on where another one stopped.
    """
    tokenizer.add_tokens(list(add_special), special_tokens=True)
    tokenizer.add_tokens(list(add))
    special, words = _added(tokenizer, frozenset(marks))
    plain = SlowTokenizer(tokenizer, {text: tokenizer.convert_tokens_to_ids(text) for text in words})
    bare = Unspaced(plain)
    spaced = plain.encode("a").ids != bare.encode("a").ids
    return TokenizerFiles(
        folder,
        plain,
        bare if spaced else plain,
        special=special,
        words=words,
        prefix="always" if spaced else "never",
        by_normalizer=False,
        eos=tokenizer.eos_token,
        lead=_lead(tokenizer),
        fingerprint=fingerprint(folder, add, add_special, marks),
    )


@dataclass(frozen=True)
class Encoding:
    """The ids of one text."""

    ids: list[int]


class SlowTokenizer:
    """A tokenizer of transformers that splits added words out of a text, and never special tokens."""

    def __init__(self, tokenizer: Any, words: Mapping[str, int]) -> None:
        self._tokenizer = tokenizer
        self._words = words
        longest = sorted(words, key=len, reverse=True)
        self._split = re.compile(f"({'|'.join(map(re.escape, longest))})" if words else r"($.)")

    def encode(self, text: str, *, add_special_tokens: bool = True) -> Encoding:
        """The ids of ``text`` alone; nothing is ever put around it."""
        parts = (part for part in self._split.split(text) if part)
        return Encoding([id_ for part in parts for id_ in self._ids(part)])

    def encode_batch_fast(self, texts: Sequence[str], *, add_special_tokens: bool = True) -> list[Encoding]:
        """One text after the other."""
        return [self.encode(text) for text in texts]

    def id_to_token(self, id: int) -> str:
        """The text of a token."""
        return str(self._tokenizer.convert_ids_to_tokens(id))

    def token_to_id(self, token: str) -> int | None:
        """The id of a token's text; ``None`` where it has none of its own."""
        id_: int | None = self._tokenizer.convert_tokens_to_ids(token)
        return None if id_ == self._tokenizer.unk_token_id and token != self._tokenizer.unk_token else id_

    def decode(self, ids: Sequence[int], skip_special_tokens: bool = True) -> str:
        """The text that ids stand for."""
        return str(self._tokenizer.decode(list(ids), skip_special_tokens=skip_special_tokens))

    def _ids(self, part: str) -> list[int]:
        if part in self._words:
            return [self._words[part]]
        tokens, ids = self._both(part)
        if None in ids:
            raise TunesmithError(
                f"The tokenizer has no token for {tokens[ids.index(None)]!r}, and none for what it does not know.",
                f"Name one in tokenizer_config.json (unk_token), or give the model a fast tokenizer: a {FILE}.",
            )
        return [id_ for id_ in ids if id_ is not None]

    def known(self, text: str) -> list[int]:
        """The ids of a text, or nothing when the tokenizer does not know all of it."""
        ids = self._both(text)[1]
        return [] if None in ids else [id_ for id_ in ids if id_ is not None]

    def _both(self, part: str) -> tuple[list[str], list[int | None]]:
        tokens = self._tokenizer.tokenize(part, split_special_tokens=True)
        unknown = self._tokenizer.unk_token_id
        return tokens, [unknown if id_ is None else id_ for id_ in self._tokenizer.convert_tokens_to_ids(tokens)]


class Unspaced:
    """The same without the space that some tokenizers put before every text: encoded behind an anchor, which is cut off."""

    def __init__(self, plain: SlowTokenizer) -> None:
        self._plain = plain
        self._anchors = [(text, ids) for text in ANCHORS if (ids := plain.known(text))]
        self.id_to_token, self.token_to_id, self.decode = plain.id_to_token, plain.token_to_id, plain.decode

    def encode(self, text: str, *, add_special_tokens: bool = True) -> Encoding:
        """The ids of ``text`` as it goes on after another one.

        :raises TunesmithError: no anchor stays by itself before this text.
        """
        for anchor, ids in self._anchors:
            found = self._plain.encode(anchor + text).ids
            if found[: len(ids)] == ids:
                return Encoding(found[len(ids) :])
        raise TunesmithError(
            f"The tokenizer cannot encode {text[:40]!r} as the rest of a longer text.",
            f"Give the model a fast tokenizer: a {FILE} beside its weights.",
        )

    def encode_batch_fast(self, texts: Sequence[str], *, add_special_tokens: bool = True) -> list[Encoding]:
        """One text after the other."""
        return [self.encode(text) for text in texts]


def _added(tokenizer: Any, marks: frozenset[str]) -> tuple[dict[str, tuple[int, AddedToken]], frozenset[str]]:
    """The tokens that only a template may write, and the added words that anybody may."""
    added: Mapping[int, AddedToken] = tokenizer.added_tokens_decoder
    named = set(tokenizer.all_special_tokens) | marks
    special = {t.content: (id_, t) for id_, t in added.items() if t.special or t.content in named}
    return special, frozenset(t.content for t in added.values() if t.content not in special)


def _lead(tokenizer: Any) -> tuple[int, ...]:
    """What the tokenizer puts before a text of its own accord."""
    both = [tokenizer.encode("x", add_special_tokens=on) for on in (True, False)]
    at = next((i for i in range(len(both[0])) if both[0][i : i + len(both[1])] == both[1]), 0)
    return tuple(both[0][:at])
