"""What a tokenizer's files say that templates need to know, read without the tokenizer itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunesmith.contracts import Renderer
from tunesmith.errors import TunesmithError
from tunesmith.templates.finding import read_json


@dataclass(frozen=True)
class TokenizerFacts:
    """The facts of one folder.

    :param chat_template: its own template as Jinja, ``None`` where it brings none.
    :param special: every string that it reads as a special token.
    :param tokens: every string that is one token by itself; empty where the files do not tell.
    """

    folder: Path
    bos: str | None
    eos: str | None
    chat_template: str | None
    special: frozenset[str]
    tokens: frozenset[str]

    def ends(self) -> dict[str, str]:
        """``bos`` and ``eos`` as renderer options, where the tokenizer has them."""
        return {key: token for key, token in (("bos", self.bos), ("eos", self.eos)) if token is not None}


def tokenizer_facts(folder: Path) -> TokenizerFacts:
    """Read the tokenizer files of a model folder.

    :raises TunesmithError: one of them is no JSON.
    """
    config = read_json(folder / "tokenizer_config.json")
    tokenizer = read_json(folder / "tokenizer.json")
    added = list(tokenizer.get("added_tokens") or []) + list((config.get("added_tokens_decoder") or {}).values())
    special = {token["content"] for token in added if token.get("special")}
    known = {token["content"] for token in added} | _vocabulary(tokenizer)
    return TokenizerFacts(
        folder,
        _token(config.get("bos_token")),
        _token(config.get("eos_token")),
        chat_template_of(folder, config),
        frozenset(special),
        frozenset(known),
    )


def _token(value: Any) -> str | None:
    return value.get("content") if isinstance(value, Mapping) else value


def _vocabulary(tokenizer: Mapping[str, Any]) -> set[str]:
    vocabulary = (tokenizer.get("model") or {}).get("vocab") or {}
    if isinstance(vocabulary, Mapping):
        return set(vocabulary)
    return {entry[0] for entry in vocabulary}


def chat_template_of(folder: Path, config: Mapping[str, Any]) -> str | None:
    """The tokenizer's own template: ``chat_template.jinja``, or the entry of ``tokenizer_config.json``."""
    file = folder / "chat_template.jinja"
    if file.is_file():
        return file.read_text(encoding="utf-8")
    found = config.get("chat_template") or read_json(folder / "chat_template.json").get("chat_template")
    if isinstance(found, list):
        named = {entry["name"]: entry["template"] for entry in found}
        return named.get("default")
    return None if found is None else str(found)


def check_tokens(renderer: Renderer, facts: TokenizerFacts) -> None:
    """Raise unless every stop string of the template is a token of the tokenizer: nothing else can end an answer.

    :raises TunesmithError: names the template, the tokens and the folder.
    """
    missing = [token for token in renderer.stop if token not in facts.tokens]
    if facts.tokens and missing:
        raise TunesmithError(
            f"The tokenizer in {facts.folder} has no token {', '.join(map(repr, missing))}, which ends an answer "
            f"of the template {renderer.name!r}.",
            "Pick the template that the model was trained with; template: auto takes the tokenizer's own.",
        )
