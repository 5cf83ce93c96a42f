"""The words of a command line → configuration file and overrides: ``key=value``, ``--key value``, ``--flag``."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_origin

from tunesmith.errors import Problem
from tunesmith.kinds import members
from tunesmith.known_keys import Key
from tunesmith.values import FALSE, TRUE, Word
from tunesmith.yaml_lines import Entry

WHERE = "command line"
SUFFIXES = (".yaml", ".yml", ".json")
_PAIR = re.compile(r"(?P<key>[A-Za-z_][\w.-]*)=(?P<value>.*)", re.DOTALL)


@dataclass
class Words:
    """What a command line says: configuration files in order, overrides in order, and what it should not have said."""

    files: list[str] = field(default_factory=list)
    entries: list[Entry] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)


def read_words(words: Sequence[str], keys: Mapping[str, Key]) -> Words:
    """Sort the words of a command line; the types in ``keys`` tell which flags stand alone and which take a value."""
    read = Words()
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if word.startswith("--") and len(word) > 2:
            _flag(read, word[2:], rest, keys)
        elif pair := _PAIR.fullmatch(word):
            read.entries.append(_entry(pair["key"], pair["value"]))
        elif word.endswith(SUFFIXES):
            read.files.append(word)
        elif rest and rest[0].startswith("=") and word.replace("-", "_") in keys:
            value = "".join(rest[:2]) if rest[0] == "=" else rest[0]
            del rest[: 2 if rest[0] == "=" else 1]
            read.problems.append(Problem(WHERE, f"{word} and its value are separate words", f"Write {word}{value}"))
        else:
            read.problems.append(_no_sense(word, keys))
    return read


def _no_sense(word: str, keys: Mapping[str, Key]) -> Problem:
    """What is wrong with a word that is neither file nor override: most often something is forgotten."""
    near = next((file for suffix in SUFFIXES if Path(file := word + suffix).is_file()), "")
    if word and Path(word).is_dir():
        return Problem(WHERE, f"{word} is a folder", "Name the configuration file in it, which ends in .yaml or .json.")
    if near:
        hint = f"Did you mean {near!r}?"
    elif word.replace("-", "_") in keys:
        hint = f"Write {word}=VALUE."
    elif word.partition(":")[0].replace("-", "_") in keys:
        hint = f"Write {word.replace(':', '=', 1)}"
    else:
        hint = "Write key=value, or name a configuration file that ends in .yaml or .json."
    return Problem(WHERE, f"{word!r} is neither a configuration file nor an override", hint)


def _entry(key: str, value: Any) -> Entry:
    return Entry(key.replace("-", "_"), Word(value) if isinstance(value, str) else value, WHERE)


def _flag(read: Words, flag: str, rest: list[str], keys: Mapping[str, Key]) -> None:
    name, equals, value = flag.partition("=")
    if equals:
        read.entries.append(_entry(name, value))
        return
    key = keys.get(name.replace("-", "_").partition(".")[0])
    taken = _values(rest, key, keys)
    if not taken and key is not None and not _stands_alone(key):
        read.problems.append(Problem(WHERE, f"--{name} needs a value", f"Write --{name} VALUE, or {key.name}=VALUE."))
        return
    several = [Word(one) for one in taken]
    read.entries.append(_entry(name, True if not taken else taken[0] if len(taken) == 1 else several))


def _values(rest: list[str], key: Key | None, keys: Mapping[str, Key]) -> list[str]:
    """Take the words off ``rest`` that are values of ``key``: none or one, for a list as many as there are."""
    taken: list[str] = []
    most = len(rest) if key is not None and _is_list(key) else 1
    while rest and len(taken) < most and _may_be_value(rest[0], key, keys) and not (taken and rest[0].endswith(SUFFIXES)):
        taken.append(rest.pop(0))
    return taken


def _may_be_value(word: str, key: Key | None, keys: Mapping[str, Key]) -> bool:
    if word.startswith("--"):
        return False
    pair = _PAIR.fullmatch(word)
    if pair and pair["key"].replace("-", "_").partition(".")[0] in keys:
        return False
    return key is None or not _is_flag(key) or word.lower() in TRUE | FALSE


def _is_flag(key: Key) -> bool:
    return members(key.type) == (bool,)


def _stands_alone(key: Key) -> bool:
    return bool in members(key.type)


def _is_list(key: Key) -> bool:
    return any(get_origin(member) is tuple for member in members(key.type))
