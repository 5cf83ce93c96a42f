"""The whole flat dialect as JSON Schema (draft 2020-12), for editors and checkers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import NoneType
from typing import Any, Literal, get_args, get_origin

from tunesmith.keys import Key, KeyTable
from tunesmith.kinds import is_union, may_be_none, members
from tunesmith.options import Range
from tunesmith.plan import is_secret
from tunesmith.plugins import Plugins
from tunesmith.specs import AXES

DIALECT = "https://json-schema.org/draft/2020-12/schema"
_NAMES: dict[Any, dict[str, Any]] = {
    bool: {"type": "boolean"},
    int: {"type": "integer"},
    float: {"type": "number"},
    str: {"type": ["string", "number"]},
    Any: {},
    NoneType: {"type": "null"},
}


def json_schema(plugins: Plugins) -> dict[str, Any]:
    """The schema of a configuration for exactly the plugins that are installed."""
    table = KeyTable.of(plugins)
    mappings = "|".join(sorted(re.escape(name) for name, key in table.items() if _takes_mapping(key)))
    return {
        "$schema": DIALECT,
        "title": "Tunesmith run",
        "description": "One run: flat keys, as in a YAML file.",
        "type": "object",
        "properties": {name: _property(table[name], plugins) for name in sorted(table)},
        "patternProperties": {rf"^({mappings})\.": {"description": "A value inside a mapping."}},
        "additionalProperties": False,
    }


def _property(key: Key, plugins: Plugins) -> dict[str, Any]:
    if key.status == "refused":
        return {"enum": [_plain(key.default)], "deprecated": True, "description": f"Not supported. {key.reason}"}
    schema = {**kind_schema(key.type, key.bounds), "description": _description(key), "default": _plain(key.default)}
    if names := next((plugins.axis(axis.hook).names for axis in AXES if axis.selector == key.name), ()):
        schema["examples"] = list(names)
    if key.status == "translated":
        schema["deprecated"] = True
    if is_secret(key.name):
        schema["writeOnly"] = True
    return schema


def _description(key: Key) -> str:
    if key.status == "translated":
        return "An old name, read as today's key."
    owner = f"Owner: {key.owner}." if key.status == "owned" else f"Known, but not built yet; it will come with {key.owner}."
    return f"{key.help} {owner}".strip()


def kind_schema(kind: Any, bounds: Range | None = None) -> dict[str, Any]:
    """The schema of one annotation."""
    if is_union(kind):
        null = [_NAMES[NoneType]] if may_be_none(kind) else []
        return {"anyOf": [*(kind_schema(member, bounds) for member in members(kind)), *null]}
    origin, args = get_origin(kind), get_args(kind)
    if origin is Literal:
        return {"enum": list(args)}
    if origin is tuple:
        item = kind_schema(args[0], bounds)
        return {"anyOf": [{"type": "array", "items": item}, {"type": ["string", "number"]}]}
    if origin is dict:
        return {"anyOf": [{"type": "object", "additionalProperties": kind_schema(args[1])}, {"type": "string"}]}
    return {**_NAMES[kind], **(_bounds(bounds) if kind in (int, float) else {})}


def _bounds(bounds: Range | None) -> dict[str, float]:
    if bounds is None:
        return {}
    words: Mapping[str, float | None] = {
        "minimum": bounds.least,
        "maximum": bounds.most,
        "exclusiveMinimum": bounds.above,
        "exclusiveMaximum": bounds.below,
    }
    return {word: bound for word, bound in words.items() if bound is not None}


def _takes_mapping(key: Key) -> bool:
    return any(get_origin(member) is dict for member in members(key.type))


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
