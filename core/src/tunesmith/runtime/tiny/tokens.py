"""A small tokenizer, trained on the shipped text, with the special tokens and the flags of a family."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from transformers import PreTrainedTokenizerFast

from tunesmith.errors import TunesmithError
from tunesmith.runtime.tiny.families import Family

MARK = "▁"
BYTES = tuple(f"<0x{byte:02X}>" for byte in range(256))


def make_tokenizer(family: Family, vocab: int, context: int) -> PreTrainedTokenizerFast:
    """Train a tokenizer of exactly ``vocab`` tokens, added tokens included.

    :raises TunesmithError: ``vocab`` has no room for the letters and the family's own tokens.
    """
    tokenizer = byte_level(family, vocab) if family.tokens == "byte-level" else sentencepiece(family, vocab)
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in family.special])
    tokenizer.add_tokens([AddedToken(token, special=False, normalized=False) for token in family.plain])
    if tokenizer.get_vocab_size() != vocab:
        raise TunesmithError(
            f"A {family.name} tokenizer of {vocab} tokens cannot be made; {tokenizer.get_vocab_size()} can.",
            "Write a vocab between about 800 and 4000.",
        )
    if family.add_bos and family.bos:
        start = (family.bos, tokenizer.token_to_id(family.bos))
        bos_first = processors.TemplateProcessing(f"{family.bos} $A", f"{family.bos} $A {family.bos}:1 $B:1", [start])
        tokenizer.post_processor = bos_first
    named = {"bos_token": family.bos, "eos_token": family.eos, "pad_token": family.pad, "unk_token": family.unk}
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, model_max_length=context, clean_up_tokenization_spaces=False, **named
    )


def shipped_text() -> list[str]:
    """The text that comes with this package, as lines."""
    folder = files("tunesmith").joinpath("tiny_text")
    texts = sorted((file for file in folder.iterdir() if file.name.endswith(".txt")), key=lambda file: file.name)
    return [line for file in texts for line in file.read_text(encoding="utf-8").splitlines(keepends=True)]


def byte_level(family: Family, vocab: int) -> Tokenizer:
    """Byte-pair tokens over bytes; the family's own tokens come after the learned ones."""
    tokenizer = Tokenizer(models.BPE())
    if family.normal:
        tokenizer.normalizer = getattr(normalizers, family.normal)()
    cut = pre_tokenizers.Split(Regex(family.split), "isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([cut, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tokenizer.decoder = decoders.ByteLevel()
    own = len({*family.special, *family.plain})
    _train(tokenizer, vocab - own, pre_tokenizers.ByteLevel.alphabet())
    return tokenizer


def sentencepiece(family: Family, vocab: int) -> Tokenizer:
    """Byte-pair tokens over letters with spaces marked; the family's own tokens and the 256 bytes come first."""
    learner = Tokenizer(models.BPE())
    marked = pre_tokenizers.Metaspace(MARK, prepend_scheme=family.spaces, split=True)
    learner.pre_tokenizer = pre_tokenizers.Sequence([marked, pre_tokenizers.Digits(individual_digits=True)])
    first = [*family.special, *BYTES]
    _train(learner, vocab - len(first), [])
    learned = json.loads(learner.to_str())["model"]
    tokens = [*first, *sorted(learned["vocab"], key=learned["vocab"].__getitem__)]
    merges = [(left, right) for left, right in learned["merges"]]
    ids = {token: number for number, token in enumerate(tokens)}
    tokenizer = Tokenizer(models.BPE(ids, merges, unk_token=family.unk, fuse_unk=True, byte_fallback=True))
    tokenizer.pre_tokenizer = learner.pre_tokenizer
    shown: list[Any] = [decoders.Replace(MARK, " "), decoders.ByteFallback(), decoders.Fuse()]
    if family.spaces == "first":
        shown.append(decoders.Strip(" ", 1, 0))
    tokenizer.decoder = decoders.Sequence(shown)
    return tokenizer


def _train(tokenizer: Tokenizer, vocab: int, alphabet: list[str]) -> None:
    trainer = trainers.BpeTrainer(vocab_size=max(vocab, 0), initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(shipped_text(), trainer)
