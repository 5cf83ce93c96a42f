"""A model folder's tokenizer: a fast one is read from its file without transformers, any other by transformers.

Two readings of it are needed. *Plain* is the tokenizer as it stands. *Bare* never puts a space before a text: it encodes a text
that goes on where another one stopped, and sentencepiece-like tokenizers would put one there otherwise.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from tunesmith.errors import TunesmithError
from tunesmith.model_folder import read_json

if TYPE_CHECKING:
    from tokenizers import AddedToken, Tokenizer

FILE, CONFIG = "tokenizer.json", "tokenizer_config.json"
NAMED = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")

#: Every file that ids may depend on.
FILES = (
    FILE, CONFIG, "special_tokens_map.json", "added_tokens.json", "vocab.json", "merges.txt", "vocab.txt", "tekken.json",
    "*.model", "*.tiktoken", "tokenization_*.py",
)  # fmt: skip

#: Where a space is put before a text: nowhere; at the very beginning only; after each special token too.
Prefix = Literal["never", "first", "always"]


class Encodes(Protocol):
    """What encoding needs of a tokenizer: as much of ``tokenizers.Tokenizer`` as other kinds can offer too."""

    def encode(self, text: str, *, add_special_tokens: bool = True) -> Any:
        """One text; ``ids`` of what is returned are its ids."""

    def encode_batch_fast(self, texts: Sequence[str], *, add_special_tokens: bool = True) -> Sequence[Any]:
        """Several texts at once."""

    def id_to_token(self, id: int) -> str | None:
        """The text of a token."""

    def token_to_id(self, token: str) -> int | None:
        """The id of a token's text."""

    def decode(self, ids: Sequence[int], skip_special_tokens: bool = True) -> str:
        """The text that ids stand for."""


@dataclass(frozen=True)
class TokenizerFiles:
    """A tokenizer's parts.

    :param plain: splits no special tokens out of text.
    :param bare: the same without a space before the text; ``plain`` itself where that makes no difference.
    :param special: the tokens that only a template may write, by their text.
    :param words: other tokens that were added to the vocabulary, which are words to anybody.
    :param prefix: where ``plain`` puts a space before a text.
    :param by_normalizer: the space is put there before tokens marked ``normalized`` are split out, so none follows those.
    :param eos: the text of the end-of-sequence token.
    :param lead: the ids that the tokenizer itself puts before every text, such as the beginning-of-sequence token.
    :param fingerprint: changes whenever ids could.
    """

    folder: Path
    plain: Encodes
    bare: Encodes
    special: Mapping[str, tuple[int, AddedToken]]
    words: frozenset[str]
    prefix: Prefix
    by_normalizer: bool
    eos: str | None
    lead: tuple[int, ...]
    fingerprint: str


def read_tokenizer(
    folder: Path,
    *,
    add: Sequence[str] = (),
    add_special: Sequence[str] = (),
    marks: Iterable[str] = (),
    own_code: bool = False,
) -> TokenizerFiles:
    """Read ``tokenizer.json`` and ``tokenizer_config.json``; without the former whatever transformers finds there.

    :param add: words to put into the vocabulary, as ``add_tokens`` asks.
    :param add_special: special tokens to put into the vocabulary, as ``add_special_tokens`` asks.
    :param marks: words of the vocabulary that a template marks turns with: only it may write them, special or not.
    :param own_code: code that comes with the tokenizer may be run; only where there is no ``tokenizer.json``.
    :raises TunesmithError: there is no tokenizer here, or its files contradict each other.
    """
    if not (folder / FILE).is_file():
        from tunesmith.data.slow_tokenizer import find_tokenizer, read_slow

        found = find_tokenizer(folder, own_code=own_code)
        if not found.is_fast:
            return read_slow(folder, found, add=add, add_special=add_special, marks=marks)
        plain = _without_limits(found.backend_tokenizer)
    else:
        plain = _load(folder)
    return _read_fast(folder, plain, add=add, add_special=add_special, marks=marks)


def _read_fast(
    folder: Path, plain: Tokenizer, *, add: Sequence[str], add_special: Sequence[str], marks: Iterable[str]
) -> TokenizerFiles:
    _add_configured(plain, folder)
    _add(plain, add_special, special=True)
    _add(plain, add, special=False)
    plain = _with_marks(plain, frozenset(marks))
    lead = _lead(plain)
    plain.encode_special_tokens = True
    prefix, by_normalizer = _prefix(json.loads(_skeleton(plain)))
    added: Mapping[int, AddedToken] = plain.get_added_tokens_decoder()
    return TokenizerFiles(
        folder,
        plain,
        plain if prefix == "never" else _bare(plain),
        special={token.content: (id_, token) for id_, token in added.items() if token.special},
        words=frozenset(token.content for token in added.values() if not token.special),
        prefix=prefix,
        by_normalizer=by_normalizer,
        eos=_token_text(_config(folder).get("eos_token")),
        lead=lead,
        fingerprint=fingerprint(folder, add, add_special, marks),
    )


# ---- loading ---------------------------------------------------------------------------------------------------------


def _load(folder: Path) -> Tokenizer:
    try:
        from tokenizers import Tokenizer
    except ImportError as error:
        raise TunesmithError("The package tokenizers is not installed.", "pip install tokenizers") from error
    file = folder / FILE
    try:
        tokenizer = Tokenizer.from_file(str(file))
    except Exception as error:  # the library raises bare Exceptions for files that it cannot read
        raise TunesmithError(
            f"{file} cannot be read: {error}", "The file is damaged, or newer than the installed tokenizers."
        ) from error
    return _without_limits(tokenizer)


def _without_limits(tokenizer: Tokenizer) -> Tokenizer:
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


def _config(folder: Path) -> dict[str, Any]:
    return {**read_json(folder, "special_tokens_map.json"), **read_json(folder, CONFIG)}


def _add_configured(tokenizer: Tokenizer, folder: Path) -> None:
    """Add what ``tokenizer_config.json`` names and ``tokenizer.json`` does not have, as transformers does."""
    config = _config(folder)
    for id_, plain in sorted(config.get("added_tokens_decoder", {}).items(), key=lambda item: int(item[0])):
        _add_at(tokenizer, int(id_), plain, folder)
    extra = [config.get("extra_special_tokens") or (), config.get("additional_special_tokens") or ()]
    listed = [token for tokens in extra for token in (tokens.values() if isinstance(tokens, dict) else tokens)]
    named = [config.get(name) for name in NAMED]
    _add(tokenizer, [text for text in map(_token_text, [*named, *listed]) if text], special=True)


def _add_at(tokenizer: Tokenizer, id_: int, plain: Mapping[str, Any], folder: Path) -> None:
    from tokenizers import AddedToken

    flags = {name: bool(plain.get(name, False)) for name in ("lstrip", "rstrip", "single_word", "normalized", "special")}
    if tokenizer.token_to_id(plain["content"]) is None:
        tokenizer.add_tokens([AddedToken(plain["content"], **flags)])
    found = tokenizer.token_to_id(plain["content"])
    if found != id_:
        raise TunesmithError(
            f"{folder}: {plain['content']!r} is token {id_} in {CONFIG} and {found} in {FILE}.",
            "The two files belong to different models.",
        )


def _add(tokenizer: Tokenizer, texts: Iterable[str], *, special: bool) -> None:
    from tokenizers import AddedToken

    known = {token.content for token in tokenizer.get_added_tokens_decoder().values()}
    for text in texts:
        if text not in known:
            tokenizer.add_tokens([AddedToken(text, special=special, normalized=False)])


def _token_text(plain: Any) -> str | None:
    text = plain.get("content") if isinstance(plain, Mapping) else plain
    return text if isinstance(text, str) else None


def _with_marks(tokenizer: Tokenizer, marks: frozenset[str]) -> Tokenizer:
    added = tokenizer.get_added_tokens_decoder().values()
    if not any(token.content in marks and not token.special for token in added):
        return tokenizer
    plain = json.loads(tokenizer.to_str())
    for token in plain["added_tokens"]:
        token["special"] = token["special"] or token["content"] in marks
    return type(tokenizer).from_str(json.dumps(plain))


def _lead(tokenizer: Tokenizer) -> tuple[int, ...]:
    """What the tokenizer puts before a text of its own accord."""
    with_lead, without = (tokenizer.encode("x", add_special_tokens=on).ids for on in (True, False))
    at = next((i for i in range(len(with_lead)) if with_lead[i : i + len(without)] == without), 0)
    return tuple(with_lead[:at])


def tokenizer_files(folder: Path) -> list[Path]:
    """Every file in ``folder`` that ids may depend on."""
    return sorted({file for pattern in FILES for file in folder.glob(pattern)})


def fingerprint(folder: Path, *settings: Iterable[str]) -> str:
    """A hash of the files and settings that ids depend on; the chat template has no part in them."""
    digest = hashlib.sha256()
    for file in tokenizer_files(folder):
        if file.name != CONFIG:
            digest.update(file.name.encode() + file.read_bytes())
    config = {key: value for key, value in _config(folder).items() if key != "chat_template"}
    digest.update(json.dumps([config, *map(sorted, settings)], sort_keys=True).encode())
    return digest.hexdigest()


# ---- the space before a text -----------------------------------------------------------------------------------------


def _skeleton(tokenizer: Tokenizer) -> str:
    """The tokenizer's JSON without its vocabulary, which may be a hundred megabytes."""
    from tokenizers import Tokenizer, models

    empty = Tokenizer(models.BPE())
    for part in ("normalizer", "pre_tokenizer"):
        if getattr(tokenizer, part) is not None:
            setattr(empty, part, getattr(tokenizer, part))
    return empty.to_str()


def _steps(part: dict[str, Any] | None) -> Iterator[dict[str, Any]]:
    """A normalizer or pre-tokenizer and everything inside it."""
    if part:
        yield part
        for inner in (*part.get("normalizers", ()), *part.get("pretokenizers", ())):
            yield from _steps(inner)


def _prefix(plain: Mapping[str, Any]) -> tuple[Prefix, bool]:
    if any(step["type"] == "Prepend" for step in _steps(plain["normalizer"])):
        return "always", True
    for step in _steps(plain["pre_tokenizer"]):
        if step["type"] == "Metaspace" and (scheme := step.get("prepend_scheme", "always")) != "never":
            return scheme, False
        if step["type"] == "ByteLevel" and step["add_prefix_space"]:
            return "always", False
    return "never", False


def _bare(tokenizer: Tokenizer) -> Tokenizer:
    plain = json.loads(tokenizer.to_str())
    plain["normalizer"] = _without_prepend(plain["normalizer"])
    for step in _steps(plain["pre_tokenizer"]):
        if step["type"] == "Metaspace":
            step["prepend_scheme"] = "never"
        elif step["type"] == "ByteLevel":
            step["add_prefix_space"] = False
    bare = type(tokenizer).from_str(json.dumps(plain))
    bare.encode_special_tokens = True
    return bare


def _without_prepend(part: dict[str, Any] | None) -> dict[str, Any] | None:
    if part is None or part["type"] == "Prepend":
        return None
    if part["type"] == "Sequence":
        part["normalizers"] = [kept for inner in part["normalizers"] if (kept := _without_prepend(inner))]
    return part
