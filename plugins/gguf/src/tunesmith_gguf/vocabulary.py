"""A tokenizer as a GGUF file holds it: tokens, what each is for, and merges or scores."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gguf import GGUFWriter, TokenType
from tunesmith import TunesmithError

from tunesmith_gguf.kinds import PRE_TOKENIZERS


@dataclass(frozen=True)
class Vocabulary:
    """``model``: ``gpt2`` for byte-level merges, ``llama`` for sentencepiece. ``pre``: how texts are split, by llama.cpp."""

    model: str
    pre: str
    tokens: list[str]
    types: list[int]
    merges: list[str]

    def write(self, writer: GGUFWriter) -> None:
        """Put it into the file's header."""
        writer.add_tokenizer_model(self.model)
        writer.add_tokenizer_pre(self.pre)
        writer.add_token_list(self.tokens)
        writer.add_token_types(self.types)
        if self.model == "llama":
            # The best token of a text is found by score, and a vocabulary made of merges lists the best first.
            writer.add_token_scores([-float(place) for place in range(len(self.tokens))])
        if self.merges:
            writer.add_token_merges(self.merges)


def read_vocabulary(folder: Path, size: int, pre: str | None) -> Vocabulary:
    """The vocabulary of the model in ``folder``, with as many tokens as its table has rows.

    :param pre: llama.cpp's name of how texts are split, where the user gave it.
    :raises TunesmithError: there is no fast tokenizer, or one that llama.cpp has no way to repeat.
    """
    file = folder / "tokenizer.json"
    if not file.is_file():
        raise TunesmithError(f"{folder} holds no tokenizer.json.", "GGUF files are made of models with a fast tokenizer.")
    plain = json.loads(file.read_text(encoding="utf-8"))
    model = plain["model"]
    if model["type"] != "BPE":
        raise TunesmithError(
            f"A tokenizer of the kind {model['type']} cannot be written as GGUF here.", "Written are merges (BPE)."
        )
    bytewise = not model.get("byte_fallback")
    named = pre or (_pre_tokenizer(plain) if bytewise else "default")
    tokens, types = _tokens(plain, size, bytewise=bytewise)
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"]]
    return Vocabulary("gpt2" if bytewise else "llama", named, tokens, types, merges if bytewise else [])


def _tokens(plain: Mapping[str, Any], size: int, *, bytewise: bool) -> tuple[list[str], list[int]]:
    tokens, types = [f"[PAD{place}]" for place in range(size)], [int(TokenType.UNUSED)] * size
    for text, place in plain["model"]["vocab"].items():
        tokens[place], types[place] = text, int(TokenType.NORMAL)
        if not bytewise and len(text) == 6 and text.startswith("<0x"):
            types[place] = int(TokenType.BYTE)
    for added in plain["added_tokens"]:
        kind = TokenType.CONTROL if added["special"] else TokenType.USER_DEFINED
        tokens[added["id"]], types[added["id"]] = added["content"], int(kind)
    unknown = plain["model"].get("unk_token")
    if unknown is not None and not bytewise:
        types[tokens.index(unknown)] = int(TokenType.UNKNOWN)
    return tokens, types


def _pre_tokenizer(plain: Mapping[str, Any]) -> str:
    steps = list(_steps(plain.get("pre_tokenizer") or {}))
    found = [step["pattern"].get("Regex", "") for step in steps if step["type"] == "Split"]
    if not any(step["type"] == "ByteLevel" for step in steps) or len(found) > 1 or (found or [""])[0] not in PRE_TOKENIZERS:
        what = "The tokenizer splits texts in a way that has no known name in llama.cpp."
        raise TunesmithError(what, "Look it up in llama.cpp's convert_hf_to_gguf_update.py and write gguf_pre_tokenizer: NAME.")
    return PRE_TOKENIZERS[(found or [""])[0]]


def _steps(step: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    if step.get("type") == "Sequence":
        for one in step["pretokenizers"]:
            yield from _steps(one)
    elif step:
        yield step
