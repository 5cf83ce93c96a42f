"""Tokens become text without half letters, and stop strings never show."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from transformers import AutoTokenizer
from tunesmith.runtime.answer_text import UNFINISHED, Letters, Stops
from tunesmith.runtime.tiny import make_tiny

TEXT = "Hello 世界! 微调大语言模型 😀👩‍👩‍👧 déjà  vu\n\tend ✓"


@pytest.fixture(scope="module", params=["llama", "gemma3", "mistral"])
def tokenizer(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AutoTokenizer:
    folder: Path = tmp_path_factory.mktemp(request.param) / "model"
    return AutoTokenizer.from_pretrained(make_tiny(request.param, folder, layers=1))


def special(tokenizer: AutoTokenizer) -> frozenset[int]:
    return frozenset(id_ for id_, token in tokenizer.added_tokens_decoder.items() if token.special)


def read(tokenizer: AutoTokenizer, ids: list[int], skip: bool = True) -> list[str]:
    letters = Letters(tokenizer, special(tokenizer) if skip else frozenset())
    return [*(letters.add(token) for token in ids), letters.rest()]


def test_letters_of_several_tokens_are_shown_once_they_are_whole(tokenizer: AutoTokenizer) -> None:
    ids = tokenizer(TEXT, add_special_tokens=False).input_ids
    shown = read(tokenizer, ids)
    assert "".join(shown) == TEXT
    assert not any(UNFINISHED in text for text in shown)
    assert "" in shown[:-1], "this text has letters of several tokens"


@pytest.mark.parametrize("seed", range(20))
def test_any_tokens_read_as_they_do_all_at_once(tokenizer: AutoTokenizer, seed: int) -> None:
    rng = random.Random(seed)
    # Decoding a run of byte tokens that is no letter takes back letters before it; what was shown cannot be taken back.
    tokens = sorted(id_ for token, id_ in tokenizer.get_vocab().items() if not token.startswith("<0x"))
    ids = [rng.choice(tokens) for _ in range(60)]
    for skip in (True, False):
        whole = tokenizer.decode(ids, skip_special_tokens=skip)
        assert "".join(read(tokenizer, ids, skip)) == whole


def test_broken_letters_at_the_end_are_shown_in_the_end(tokenizer: AutoTokenizer) -> None:
    ids = tokenizer("ok 😀", add_special_tokens=False).input_ids[:-1]
    shown = read(tokenizer, ids)
    assert "".join(shown) == tokenizer.decode(ids)
    assert UNFINISHED in shown[-1]


@pytest.mark.parametrize("cut", [1, 2, 3, 7])
@pytest.mark.parametrize(
    ("text", "stops", "shown"),
    [
        ("one two three", ("two",), "one "),
        ("one two three", ("four",), "one two three"),
        ("ab###cd", ("###",), "ab"),
        ("ab##cd#", ("###",), "ab##cd#"),
        ("aaab", ("aab",), "a"),
        ("x stop y end", ("end", "stop"), "x "),
        ("early", ("early",), ""),
    ],
)
def test_text_ends_before_the_first_stop_string(text: str, stops: tuple[str, ...], shown: str, cut: int) -> None:
    watch, out, found = Stops(stops), "", False
    for at in range(0, len(text), cut):
        new, found = watch.add(text[at : at + cut])
        out += new
        if found:
            break
    assert (out if found else out + watch.rest()) == shown
    assert found == any(stop in text for stop in stops)
