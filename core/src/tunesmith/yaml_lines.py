"""Configuration files → what is written where: every top-level key with its line, values kept as they were written."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from json import JSONDecodeError
from pathlib import Path
from typing import Any

import yaml

from tunesmith.errors import ConfigError, Problem
from tunesmith.json_faults import json_hint
from tunesmith.values import BadValueError, Word

#: Keeps every unquoted word as text: what it means is decided by the key it belongs to.
_Loader = getattr(yaml, "CBaseLoader", yaml.BaseLoader)
#: What editors and web pages put in the place of a blank and a colon.
LOOKALIKES = {"\u00a0": "a no-break space", "\u3000": "a wide space", "\uff1a": "a wide colon"}
_PLAIN_TAGS = frozenset(f"tag:yaml.org,2002:{name}" for name in ("str", "map", "seq", "int", "float", "bool", "null"))


@dataclass(frozen=True)
class Entry:
    """A top-level key of a file. ``where`` is ``name:line``; ``value`` holds :class:`Word` where nothing was quoted."""

    key: str
    value: Any
    where: str


def read_file(path: Path) -> tuple[list[Entry], list[Problem]]:
    """Read a flat YAML or JSON file; a key that is there twice is a problem.

    :raises ConfigError: the file cannot be read at all, or is no mapping; names the line.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError([Problem(str(path), "this is not a text file in UTF-8", "Save it as UTF-8.")]) from error
    except OSError as error:
        raise ConfigError([Problem(str(path), f"cannot be read: {error.strerror}")]) from error
    return _check_twice(list(_json_entries(text, path) if path.suffix == ".json" else _yaml_entries(text, path)))


def _check_twice(entries: list[Entry]) -> tuple[list[Entry], list[Problem]]:
    first: dict[str, Entry] = {}
    problems = []
    for entry in entries:
        if entry.key in first:
            what = f"{entry.key} is given twice, first at {first[entry.key].where}"
            problems.append(Problem(entry.where, what, "Keep one of them."))
        first.setdefault(entry.key, entry)
    return list(first.values()), problems


# ---- YAML ------------------------------------------------------------------------------------------------------------


def _yaml_entries(text: str, path: Path) -> Iterator[Entry]:
    try:
        root = yaml.compose(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        raise ConfigError([_yaml_fault(error, text, path)]) from error
    except yaml.reader.ReaderError as error:
        where = f"{path}:{text.count(chr(10), 0, error.position) + 1}"
        what = f"this is not YAML: it holds the control character U+{int(error.character):04X}"
        raise ConfigError([Problem(where, what, "Remove it.")]) from error
    if root is None:
        return
    if not isinstance(root, yaml.MappingNode):
        kind = "a list" if isinstance(root, yaml.SequenceNode) else "a single text"
        what = f"a configuration has lines of the form `key: value`; this is {kind}"
        raise ConfigError([Problem(f"{path}:{_line(root)}", what, "Write for example model_name_or_path: FOLDER")])
    for key, value in root.value:
        where = f"{path}:{_line(key)}"
        try:
            yield Entry(_name(key), _read(value), where)
        except BadValueError as error:
            raise ConfigError([Problem(where, str(error), error.instead)]) from error


def _yaml_fault(error: yaml.MarkedYAMLError, text: str, path: Path) -> Problem:
    """What is wrong, at the line where it begins: an open quote or a missing space shows further down."""
    begins = error.context in ("while scanning a quoted scalar", "while scanning a simple key")
    mark = (begins and error.context_mark) or error.problem_mark or error.context_mark
    where = f"{path}:{mark.line + 1}" if mark else str(path)
    line = text.splitlines()[mark.line] if mark and mark.line < len(text.splitlines()) else ""
    if begins and "quoted" in str(error.context):
        return Problem(where, "this is not YAML: a quote is opened and not closed", "Close it.")
    return Problem(where, f"this is not YAML: {error.problem or error.context}", _yaml_hint(error, line))


def _yaml_hint(error: yaml.MarkedYAMLError, line: str) -> str:
    if near := re.match(r"\s*(\w+)(:|\s*=\s*)(\S.*)", line if "simple key" in str(error.context) else ""):
        return f"Write {near[1]}: {near[3]}"
    if odd := next((name for sign, name in LOOKALIKES.items() if sign in line), ""):
        return f"This line holds {odd}: write an ordinary one."
    if "mapping values" in str(error.problem) and line.startswith(" "):
        return "Begin every key in the first column; only what lies within another is indented."
    if "tab" in str(error.problem) or "\t" in line[: len(line) - len(line.lstrip())]:
        return "Indent with spaces."
    return "Text with a colon, a # or a bracket in it needs quotes." if error.problem else ""


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1


def _read(node: yaml.Node, above: tuple[int, ...] = ()) -> Any:
    if node.tag not in _PLAIN_TAGS:
        raise BadValueError(f"the tag {node.tag} on line {_line(node)} is not allowed", "A configuration holds values only.")
    if id(node) in above:
        raise BadValueError(f"the alias on line {_line(node)} holds itself")
    above = (*above, id(node))
    if isinstance(node, yaml.ScalarNode):
        return str(node.value) if node.style in ("'", '"', "|", ">") else Word(node.value)
    if isinstance(node, yaml.SequenceNode):
        return [_read(item, above) for item in node.value]
    assert isinstance(node, yaml.MappingNode)  # YAML has no fourth kind of node
    return _mapping(node, above)


def _mapping(node: yaml.MappingNode, above: tuple[int, ...]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in node.value:
        name = _name(key)
        if name in found:
            raise BadValueError(f"{name} is given twice, again on line {_line(key)}", "Keep one of them.")
        found[name] = _read(value, above)
    return found


def _name(key: yaml.Node) -> str:
    if not isinstance(key, yaml.ScalarNode):
        raise BadValueError(f"the key on line {_line(key)} is no word", "Text with a bracket in it needs quotes.")
    if key.value == "<<" and not key.style:
        raise BadValueError(f"merging with << on line {_line(key)} is not supported", "Write the keys out.")
    return str(_read(key))


def read_flow(text: str) -> Any:
    """Read one value that was written as a piece of YAML, such as ``{stage: 3}``.

    :raises BadValueError: it is not YAML.
    """
    try:
        root = yaml.compose(text, Loader=_Loader)
    except yaml.YAMLError as error:
        raise BadValueError("a value in JSON or YAML") from error
    return None if root is None else _read(root)


# ---- JSON ------------------------------------------------------------------------------------------------------------


def _json_entries(text: str, path: Path) -> Iterator[Entry]:
    try:
        yield from _walk_object(text, path)
    except JSONDecodeError as error:
        raise ConfigError([Problem(f"{path}:{error.lineno}", f"this is not JSON: {error.msg}", json_hint(error))]) from error


def _walk_object(text: str, path: Path) -> Iterator[Entry]:
    """Yield each pair of the object that ``text`` is, with the line of its key, which ``json.loads`` does not tell."""
    decoder = json.JSONDecoder(object_pairs_hook=_unique)
    at = _skip(text, 0, "{", "a configuration is one JSON object")
    if text[_blank(text, at) :].startswith("}"):
        _end(text, _blank(text, at) + 1)
        return
    while True:
        start = _skip(text, at, '"', "a key in double quotes is missing")
        key, at = decoder.raw_decode(text, start - 1)
        value, at = decoder.raw_decode(text, _blank(text, _skip(text, at, ":", "':' is missing")))
        yield Entry(key, value, f"{path}:{text.count(chr(10), 0, start) + 1}")
        at = _blank(text, at)
        if text[at : at + 1] == "}":
            return _end(text, at + 1)
        at = _skip(text, at, ",", "',' or '}' is missing")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise JSONDecodeError(f"{key} is given twice", "", 0)
        found[key] = value
    return found


def _blank(text: str, at: int) -> int:
    while text[at : at + 1] in (" ", "\t", "\n", "\r"):
        at += 1
    return at


def _skip(text: str, at: int, wanted: str, otherwise: str) -> int:
    at = _blank(text, at)
    if text[at : at + 1] != wanted:
        raise JSONDecodeError(otherwise, text, at)
    return at + 1


def _end(text: str, at: int) -> None:
    rest = _blank(text, at)
    if rest != len(text):
        raise JSONDecodeError("there is more after the object", text, rest)
