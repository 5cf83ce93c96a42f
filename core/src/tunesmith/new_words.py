"""The file that ``new_special_tokens_config`` names: words to add to the vocabulary, each with a description. Without torch."""

from __future__ import annotations

from pathlib import Path

import yaml

from tunesmith.errors import TunesmithError


def read_descriptions(file: Path) -> dict[str, str]:
    """Word → description.

    :raises TunesmithError: the file is not there, or is no mapping of words to sentences.
    """
    hint = 'One line each: "<word>": what it means'
    if not file.is_file():
        raise TunesmithError(f"new_special_tokens_config: there is no file {file}.", hint)
    try:
        plain = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise TunesmithError(f"new_special_tokens_config: {file} is no YAML: {error}", hint) from error
    if not isinstance(plain, dict) or not plain:
        raise TunesmithError(f"new_special_tokens_config: {file} maps no words to descriptions.", hint)
    for word, description in plain.items():
        if not isinstance(word, str) or not word.strip() or not isinstance(description, str) or not description.strip():
            raise TunesmithError(f"new_special_tokens_config: {file}: {word!r} has no description in words.", hint)
    return plain
