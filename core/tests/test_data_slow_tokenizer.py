"""A tokenizer without ``tokenizer.json``: converted where transformers can, else as exact as the fast one, only slower."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer
from tunesmith import TunesmithError
from tunesmith.data.conversation import Piece, Rendered
from tunesmith.data.tokenizer_files import read_tokenizer
from tunesmith.data.tokens import Encoder
from tunesmith.testing.small_tokenizers import WORD, write_tokenizer


def chat(question: str, answer: str) -> Rendered:
    """A ChatML row: the answer and the token that ends it are learned."""
    head = (Piece("<|im_start|>user\n", True), Piece(question, False), Piece("<|im_end|>\n<|im_start|>assistant\n", True))
    return Rendered((*head, Piece(answer, False, 1.0), Piece("<|im_end|>", True, 1.0), Piece("\n", True)))


ROWS = {
    "chat": chat("What is two plus two?", "Two plus two is four."),
    "blanks": chat("  hello  \n\n", "good\n\n    morning\n"),
    "words": chat(f"{WORD} user{WORD}{WORD}x", f"assistant {WORD}"),
    "chinese": chat("你好，世界。", "今天的天气很好 🙂"),
    "word first": Rendered(
        (Piece("<s>[INST] ", True), Piece("two", False), Piece(" [/INST]", True), Piece(" four ", False, 1.0))
    ),
    "nothing": chat("", ""),
}

#: A tokenizer as old repositories bring it: code of its own, one text at a time. It reads the very same vocabulary.
CODE = """
from pathlib import Path
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizer


class OwnTokenizer(PreTrainedTokenizer):
    vocab_files_names = {"vocab_file": "own_vocab.json"}

    def __init__(self, vocab_file, **kwargs):
        self.inner = Tokenizer.from_file(str(vocab_file))
        self.inner.encode_special_tokens = True
        super().__init__(**kwargs)

    @property
    def vocab_size(self):
        return self.inner.get_vocab_size(with_added_tokens=False)

    def get_vocab(self):
        return self.inner.get_vocab()

    def _tokenize(self, text, **kwargs):
        return self.inner.encode(text, add_special_tokens=False).tokens

    def _convert_token_to_id(self, token):
        return self.inner.token_to_id(token)

    def _convert_id_to_token(self, index):
        return self.inner.id_to_token(index)
"""


def own_code_folder(folder: Path, kind: str) -> tuple[Path, Path]:
    """The same tokenizer twice: as a fast one, and as code with a vocabulary."""
    fast, slow = write_tokenizer(folder / "fast", kind), folder / "slow"
    slow.mkdir()
    shutil.copy(fast / "tokenizer.json", slow / "own_vocab.json")
    (slow / "tokenization_own.py").write_text(CODE)
    inner = Tokenizer.from_file(str(fast / "tokenizer.json"))
    config = json.loads((fast / "tokenizer_config.json").read_text())
    config["added_tokens_decoder"] = {
        str(id_): {"content": token.content, "special": token.special, "normalized": False}
        for id_, token in inner.get_added_tokens_decoder().items()
    }
    config["unk_token"] = "<unk>"
    config |= {"auto_map": {"AutoTokenizer": ["tokenization_own.OwnTokenizer", None]}, "tokenizer_class": "OwnTokenizer"}
    (slow / "tokenizer_config.json").write_text(json.dumps(config))
    return fast, slow


@pytest.fixture(scope="module", params=["byte_level", "byte_level_spaced", "metaspace_always"])
def both(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Encoder, Encoder]:
    fast, slow = own_code_folder(tmp_path_factory.mktemp(request.param), request.param)
    return Encoder(read_tokenizer(fast)), Encoder(read_tokenizer(slow, own_code=True))


@pytest.mark.parametrize("name", ROWS)
def test_the_slow_path_gives_the_ids_and_weights_of_the_fast_one(both: tuple[Encoder, Encoder], name: str) -> None:
    fast, slow = (encoder.tokens(ROWS[name]) for encoder in both)
    assert slow.ids.tolist() == fast.ids.tolist()
    np.testing.assert_array_equal(slow.weights, fast.weights)


def test_a_text_without_its_space_is_the_same_in_both(both: tuple[Encoder, Encoder]) -> None:
    """A border between runs in the middle of a text, where no space may be put."""
    row = Rendered((Piece("<s>", True), Piece("two plus", False), Piece(" two", False, 1.0), Piece("fox", False, 0.5)))
    fast, slow = (encoder.tokens(row).ids.tolist() for encoder in both)
    assert slow == fast


def test_special_tokens_in_a_text_stay_text_and_words_stay_words(both: tuple[Encoder, Encoder]) -> None:
    row = Rendered((Piece(f"<s>forged <|im_end|> and {WORD}", False, 1.0),))
    fast, slow = (encoder.tokens(row).ids.tolist() for encoder in both)
    special = {id_ for text, (id_, _) in both[0].files.special.items() if text != "<unk>"}
    assert slow == fast
    assert not special & set(slow)


def test_a_document_begins_and_ends_as_with_the_fast_one(both: tuple[Encoder, Encoder]) -> None:
    fast, slow = (encoder.tokens(encoder.document("the lazy dog")).ids.tolist() for encoder in both)
    assert slow == fast


def test_what_has_no_token_is_named(tmp_path: Path) -> None:
    _, slow = own_code_folder(tmp_path, "metaspace_always")
    config = json.loads((slow / "tokenizer_config.json").read_text())
    (slow / "tokenizer_config.json").write_text(json.dumps({key: value for key, value in config.items() if key != "unk_token"}))
    with pytest.raises(TunesmithError, match="has no token for '🙂'"):
        Encoder(read_tokenizer(slow, own_code=True)).tokens(chat("🙂", "two"))


def test_the_fingerprint_changes_with_the_code(tmp_path: Path) -> None:
    _, slow = own_code_folder(tmp_path, "byte_level")
    before = read_tokenizer(slow, own_code=True).fingerprint
    (slow / "tokenization_own.py").write_text(CODE + "\n# changed\n")
    assert read_tokenizer(slow, own_code=True).fingerprint != before


def test_code_is_not_run_unless_it_may(tmp_path: Path) -> None:
    _, slow = own_code_folder(tmp_path, "byte_level")
    (slow / "tokenization_own.py").write_text("raise SystemExit('the code ran')\n")
    with pytest.raises(TunesmithError, match=r"holds no tokenizer\.json, and transformers cannot read another") as caught:
        read_tokenizer(slow)
    assert "trust_remote_code" in str(caught.value.hint)


def test_what_transformers_can_convert_is_as_fast_as_any_other(tmp_path: Path) -> None:
    """The vocabulary and merges of GPT-2's kind, without ``tokenizer.json``."""
    fast = write_tokenizer(tmp_path / "fast", "byte_level")
    model = json.loads((fast / "tokenizer.json").read_text())
    parts = tmp_path / "parts"
    parts.mkdir()
    (parts / "vocab.json").write_text(json.dumps(model["model"]["vocab"]))
    merges = (" ".join(merge) if isinstance(merge, list) else merge for merge in model["model"]["merges"])
    (parts / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges))
    config = json.loads((fast / "tokenizer_config.json").read_text())
    added = {str(token["id"]): {"content": token["content"], "special": token["special"]} for token in model["added_tokens"]}
    config |= {"tokenizer_class": "GPT2Tokenizer", "added_tokens_decoder": added}
    (parts / "tokenizer_config.json").write_text(json.dumps(config))
    one, other = Encoder(read_tokenizer(fast)), Encoder(read_tokenizer(parts))
    assert isinstance(other.files.plain, Tokenizer)
    for row in ROWS.values():
        assert other.tokens(row).ids.tolist() == one.tokens(row).ids.tolist()
