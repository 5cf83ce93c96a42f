"""Data of any origin → typed values: exact JSON of our own, and whatever a user wrote in YAML or on a command line."""

from __future__ import annotations

import json
import math
import re
import types
from collections.abc import Callable, Mapping
from collections.abc import Mapping as MappingABC
from dataclasses import fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from tunesmith.errors import nearest
from tunesmith.kinds import bare, describe, is_union, may_be_none, members
from tunesmith.options import Range

# ---- our own JSON ----------------------------------------------------------------------------------------------------


def from_plain(kind: Any, plain: Any) -> Any:
    """Build a value of ``kind`` from what ``json.loads`` gives: lists become tuples, objects become dataclasses.

    :raises ValueError: ``plain`` is no such value; names the field.
    """
    kind = bare(kind)[0]
    if kind is Any or (plain is None and may_be_none(kind)):
        return plain
    if is_union(kind):
        return _first_that_fits(kind, plain)
    if is_dataclass(kind) and isinstance(kind, type):
        return plain if isinstance(plain, kind) else _dataclass(kind, plain)
    return _plain_value(kind, plain)


def _first_that_fits(kind: Any, plain: Any) -> Any:
    for member in members(kind):
        try:
            return from_plain(member, plain)
        except ValueError:
            continue
    raise ValueError(f"{plain!r} is not {describe(kind)}")


def _dataclass(kind: type, plain: Any) -> Any:
    if not isinstance(plain, MappingABC):
        raise ValueError(f"{plain!r} is no {kind.__name__}")
    hints = _hints(kind)
    if unknown := sorted(set(plain) - set(hints)):
        raise ValueError(f"{kind.__name__} has no {', '.join(unknown)}")
    try:
        return kind(**{name: from_plain(hints[name], value) for name, value in plain.items()})
    except TypeError as error:  # a field without a default is not there
        raise ValueError(str(error)) from error


@cache
def _hints(kind: type) -> dict[str, Any]:
    hints = get_type_hints(kind)
    return {item.name: hints[item.name] for item in fields(kind) if item.init}


def _plain_value(kind: Any, plain: Any) -> Any:
    origin, args = get_origin(kind) or kind, get_args(kind)
    if origin is Literal and plain in args:
        return plain
    if origin is tuple and isinstance(plain, (list, tuple)):
        items = args[:1] * len(plain) if args[-1:] == (...,) else args or (Any,) * len(plain)
        return tuple(from_plain(item, value) for item, value in zip(items, plain, strict=True))
    if origin in (dict, Mapping, MappingABC) and isinstance(plain, MappingABC):
        key, value = args or (Any, Any)
        return {from_plain(key, name): from_plain(value, item) for name, item in plain.items()}
    if origin is Path and isinstance(plain, (str, Path)):
        return Path(plain)
    if origin is float and isinstance(plain, (int, float)) and not isinstance(plain, bool):
        return float(plain)
    if isinstance(origin, type) and isinstance(plain, origin) and not (isinstance(plain, bool) and origin is int):
        return plain
    raise ValueError(f"{plain!r} is not {describe(kind)}")


# ---- what a user wrote -----------------------------------------------------------------------------------------------


class Word(str):
    """An unquoted word of a YAML file or command line: text whose meaning depends on the key it was written for."""

    __slots__ = ()


class BadValueError(ValueError):
    """A value that its key cannot take. ``expected`` follows "must be"; ``instead`` says what to write."""

    def __init__(self, expected: str, instead: str = "") -> None:
        super().__init__(expected)
        self.expected = expected
        self.instead = instead


TRUE = frozenset({"true", "yes", "on", "1", "y", "t"})
FALSE = frozenset({"false", "no", "off", "0", "n", "f"})
NULL = frozenset({"", "~", "null", "none"})


def convert(kind: Any, raw: Any, bounds: Range | None = None) -> Any:
    """The value of ``kind`` that a user meant by ``raw``.

    :param raw: text (a :class:`Word` where it was not quoted), or a Python value with such text anywhere inside.
    :raises BadValueError: there is none, or it is out of ``bounds``.
    """
    inner, _, range_ = bare(kind)
    bounds = bounds or range_
    try:
        value = _convert(inner, raw)
    except BadValueError as error:
        if bounds is None:
            raise
        raise BadValueError(f"{error.expected}, {bounds}", error.instead) from error
    numbers = value if isinstance(value, tuple) else (value,)
    if bounds and not all(number in bounds for number in numbers if isinstance(number, (int, float))):
        raise BadValueError(describe(inner, bounds))
    return value


def _convert(kind: Any, raw: Any) -> Any:
    if is_null(raw) and may_be_none(kind) and raw not in _literals(kind):
        return None
    if kind is Any:
        return untyped(raw)
    if is_union(kind):
        return _union(kind, raw)
    origin = get_origin(kind) or kind
    if origin not in CONVERTERS:  # a plugin's mistake, not the user's
        raise TypeError(f"an option cannot have the type {kind}; see tunesmith.options")
    return CONVERTERS[origin](kind, raw)


def is_null(raw: Any) -> bool:
    """``null``, or an unquoted word that means it."""
    return raw is None or (isinstance(raw, Word) and raw.lower() in NULL)


def _literals(kind: Any) -> tuple[Any, ...]:
    return tuple(value for member in members(kind) if get_origin(member) is Literal for value in get_args(member))


def _union(kind: Any, raw: Any) -> Any:
    inner = members(kind)
    if len(inner) == 1:
        return _convert(inner[0], raw)
    errors = []
    for member in sorted(inner, key=lambda member: _rank(member, raw)):
        try:
            return _convert(member, raw)
        except BadValueError as error:
            errors.append(error)
    raise BadValueError(describe(kind), next((error.instead for error in errors if error.instead), ""))


def _rank(kind: Any, raw: Any) -> int:
    """Which member of a union gets to try first: what the value is already, then the choosiest."""
    origin = get_origin(kind) or kind
    if isinstance(origin, type) and type(raw) is origin:
        return -1
    if origin is dict:
        return 0
    if origin is bool and str(raw) in ("0", "1"):
        return 6
    return {Literal: 1, bool: 2, int: 3, float: 4, str: 5, tuple: 6}.get(origin, 7)


def _boolean(_: Any, raw: Any) -> bool:
    if isinstance(raw, bool):
        return raw
    word = str(raw).strip().lower()
    if isinstance(raw, (str, int)) and word in TRUE | FALSE:
        return word in TRUE
    raise BadValueError(describe(bool), "Write true or false.")


def _integer(_: Any, raw: Any) -> int:
    number = _number(raw, describe(int))
    if isinstance(number, float) and not number.is_integer():
        near = f"Write {math.floor(number)} or {math.ceil(number)}." if math.isfinite(number) else ""
        raise BadValueError(describe(int), near)
    return int(number)


def _float(_: Any, raw: Any) -> float:
    return float(_number(raw, describe(float)))


_INTEGER = re.compile(r"[-+]?[0-9][0-9_]*")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.?inf(inity)?", re.IGNORECASE)


def _number(raw: Any, expected: str) -> int | float:
    if isinstance(raw, (int, float)) and not isinstance(raw, bool) and not math.isnan(raw):
        return raw
    text = raw.strip() if isinstance(raw, str) else ""
    if _INTEGER.fullmatch(text):
        return int(text)
    if _FLOAT.fullmatch(text):
        return float(text.lower().replace(".inf", "inf"))
    raise BadValueError(expected, _without_comma(text, expected))


def _without_comma(text: str, expected: str) -> str:
    """How a number with a comma is written."""
    if expected.startswith("a whole number") and re.fullmatch(r"[-+]?[0-9]{1,3}(,[0-9]{3})+", text):
        return f"Write {text.replace(',', '')}"
    return "Decimals take a point: 0.1" if re.fullmatch(r"[-+]?[0-9]+,[0-9]+", text) else ""


def _text(_: Any, raw: Any) -> str:
    if isinstance(raw, str):
        return str(raw)
    if isinstance(raw, (int, float)) and not isinstance(raw, bool):
        return str(raw)
    raise BadValueError(describe(str), "Put it in quotes if it is meant as text." if isinstance(raw, bool) else "")


def _literal(kind: Any, raw: Any) -> Any:
    values = get_args(kind)
    for value in values:
        if raw == value and isinstance(raw, bool) == isinstance(value, bool):
            return value
    if isinstance(raw, bool):  # YAML 1.1 readers turn the word ``no`` into False before we see it
        words = [value for value in values if value in (TRUE if raw else FALSE)]
        if len(words) == 1:
            return words[0]
    for value in values:
        if isinstance(raw, str) and _spells(value, raw):
            return value
    raise BadValueError(describe(kind), nearest(raw, values) if isinstance(raw, str) else "")


def _spells(value: Any, raw: str) -> bool:
    if isinstance(value, str):
        return value.lower() == raw.lower()
    try:
        return bool(_convert(type(value), raw) == value)
    except BadValueError:
        return False


def _tuple(kind: Any, raw: Any) -> tuple[Any, ...]:
    item = get_args(kind)[0]
    if isinstance(raw, str):
        raw = _items(raw)
    elif isinstance(raw, (int, float, bool)):
        raw = [raw]
    if not isinstance(raw, (list, tuple)):
        raise BadValueError(describe(kind), "Write a list: [a, b]")
    return tuple(convert(item, value) for value in raw)


def _items(text: str) -> list[Any]:
    if text.lstrip().startswith("["):
        return list(_flow(text, list, "a list"))
    if isinstance(text, Word) and text.lower() in NULL - {"none"}:  # `report_to: none` means the word
        return []
    return [type(text)(part.strip()) for part in text.split(",") if part.strip()]


def _mapping(kind: Any, raw: Any) -> dict[str, Any]:
    if isinstance(raw, str) and raw.lstrip().startswith("{"):
        raw = _flow(raw, dict, "a mapping")
    if not isinstance(raw, MappingABC):
        raise BadValueError(describe(kind), 'Write a mapping: {"name": value}')
    value = get_args(kind)[1]
    return {str(name): _convert(bare(value)[0], item) for name, item in raw.items()}


def _flow(text: str, kind: type, expected: str) -> Any:
    """Read ``[a, b]`` or ``{"a": 1}`` that was written as text: JSON, else YAML."""
    from tunesmith.yaml_lines import read_flow

    try:
        value = json.loads(text)
    except ValueError:
        value = read_flow(str(text))
    if not isinstance(value, kind):
        raise BadValueError(expected)
    return value


CONVERTERS: dict[Any, Callable[[Any, Any], Any]] = {
    bool: _boolean,
    int: _integer,
    float: _float,
    str: _text,
    Literal: _literal,
    tuple: _tuple,
    dict: _mapping,
    types.NoneType: lambda _, raw: _literal(Literal[None], raw),
}


# ---- values without a type -------------------------------------------------------------------------------------------

_YAML_INTEGER = re.compile(r"[-+]?[0-9]+")
_YAML_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)")
_YAML_WORDS = {"": None, "~": None, "null": None, "Null": None, "NULL": None} | {
    spelling: value for word, value in (("true", True), ("false", False)) for spelling in (word, word.title(), word.upper())
}


def untyped(raw: Any) -> Any:
    """A value inside an untyped mapping or list, by the rules of YAML 1.2: ``no`` and ``off`` are words."""
    if isinstance(raw, MappingABC):
        return {str(name): untyped(value) for name, value in raw.items()}
    if isinstance(raw, (list, tuple)):
        return [untyped(value) for value in raw]
    if not isinstance(raw, Word):
        return raw
    if raw in _YAML_WORDS:
        return _YAML_WORDS[raw]
    if _YAML_INTEGER.fullmatch(raw):
        return int(raw)
    if _YAML_FLOAT.fullmatch(raw):
        return float(raw.lower().replace(".inf", "inf"))
    return float("nan") if raw in (".nan", ".NaN", ".NAN") else str(raw)
