"""Small tokenizers of each kind in use, as model folders, for tests of whatever turns text into ids.

They are trained on a few sentences in a fraction of a second, and always come out the same.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tokenizers import Tokenizer

TEXT = (
    "The quick brown fox jumps over the lazy dog, and then it sleeps.",
    "What is two plus two? Two plus two is four.",
    "user says hello\nassistant says good morning\n\nsystem is quiet",
    "def add(a, b):\n    return a + b\n",
    '{"name": "weather", "arguments": {"city": "Paris"}}',
    "[INST] instruction [/INST] answer ### Response:",
    "你好，世界。今天的天气很好。一加一等于二。",
)
#: Special tokens of every small tokenizer, and one added word that is not special.
SPECIAL = ("<s>", "</s>", "<|im_start|>", "<|im_end|>", "<unk>")
WORD = "<tool>"


def byte_level() -> Tokenizer:
    """Byte-level BPE, as GPT-2, Llama 3 and Qwen have it."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(TEXT, trainers.BpeTrainer(vocab_size=400, initial_alphabet=alphabet, show_progress=False))
    return tokenizer


def byte_level_spaced() -> Tokenizer:
    """Byte-level BPE that puts a space before every text, as some RoBERTa-like models have it."""
    from tokenizers import pre_tokenizers

    tokenizer = byte_level()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    return tokenizer


def metaspace_first() -> Tokenizer:
    """Sentencepiece-like BPE with a space at the very beginning only, as newer conversions of Llama 2 have it."""
    return _metaspace("first")


def metaspace_always() -> Tokenizer:
    """Sentencepiece-like Unigram with a space after each special token too, as T5 and XLM-R have it."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(vocab_size=250, unk_token="<unk>", special_tokens=["<unk>"], show_progress=False)
    tokenizer.train_from_iterator(TEXT, trainer)
    return tokenizer


def prepend() -> Tokenizer:
    """Sentencepiece-like BPE whose space comes from the normalizer, as legacy conversions of Llama 2 have it."""
    from tokenizers import normalizers

    tokenizer = _metaspace("first")
    tokenizer.pre_tokenizer = None
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    return tokenizer


def word_piece() -> Tokenizer:
    """Lower-cased WordPiece, as BERT has it."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.WordPiece(unk_token="<unk>"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    trainer = trainers.WordPieceTrainer(vocab_size=300, special_tokens=["<unk>"], show_progress=False)
    tokenizer.train_from_iterator(TEXT, trainer)
    return tokenizer


def _metaspace(scheme: str) -> Tokenizer:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme)
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.BpeTrainer(vocab_size=300, special_tokens=["<unk>"], show_progress=False)
    tokenizer.train_from_iterator(TEXT, trainer)
    return tokenizer


KINDS: Mapping[str, Callable[[], Tokenizer]] = {
    "byte_level": byte_level,
    "byte_level_spaced": byte_level_spaced,
    "metaspace_first": metaspace_first,
    "metaspace_always": metaspace_always,
    "prepend": prepend,
    "word_piece": word_piece,
}


def write_tokenizer(folder: Path, kind: str = "byte_level", *, eos: str = "<|im_end|>") -> Path:
    """Write ``tokenizer.json`` and ``tokenizer_config.json`` of one kind into ``folder``, which is made if need be."""
    from tokenizers import AddedToken

    tokenizer = KINDS[kind]()
    tokenizer.add_special_tokens([AddedToken(text, special=True, normalized=False) for text in SPECIAL])
    tokenizer.add_tokens([AddedToken(WORD, special=False, normalized=False)])
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {"tokenizer_class": "TokenizersBackend", "eos_token": eos, "pad_token": "</s>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder
