"""Whether two models read the same ids as the same words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tunesmith.model_folder import read_json

FILE = "tokenizer.json"


def differing_words(one: Path, other: Path) -> str:
    """The first id of ``one`` that is another word, or none, to ``other``; empty where all agree. Both are model folders.

    Folders without ``tokenizer.json`` cannot be compared, and a folder without any tokenizer takes the other's word for it.

    :raises TunesmithError: a file is no JSON.
    """
    if not all((folder / FILE).is_file() for folder in (one, other)):
        return ""
    if (one / FILE).read_bytes() == (other / FILE).read_bytes():
        return ""
    mine, others = (dict(_words(read_json(folder, FILE))) for folder in (one, other))
    for number, word in sorted(mine.items()):
        if others.get(number) != word:
            return f"the id {number} is {word!r} to one and {others.get(number)!r} to the other"
    return ""


def _words(tokenizer: Mapping[str, Any]) -> Iterator[tuple[int, str]]:
    vocabulary = tokenizer.get("model", {}).get("vocab") or {}
    if isinstance(vocabulary, Mapping):
        yield from ((int(number), str(word)) for word, number in vocabulary.items())
    else:  # unigram models list words with their scores
        yield from ((number, str(entry[0])) for number, entry in enumerate(vocabulary))
    yield from ((int(added["id"]), str(added["content"])) for added in tokenizer.get("added_tokens") or ())
