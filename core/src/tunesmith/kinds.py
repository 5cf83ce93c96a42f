"""Annotations as data: written as text in data files, described in words for people, listed as choices."""

from __future__ import annotations

import ast
import types
from functools import cache
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from tunesmith.options import Range

NAMES: dict[str, Any] = {"bool": bool, "int": int, "float": float, "str": str, "Any": Any, "dict": dict[str, Any], "None": None}
_WORDS = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
    Any: "any value",
    None: "null",
}


@cache
def read_kind(text: str) -> Any:
    """The annotation that ``text`` spells: ``int | None``, ``Literal['a', 'b']``, ``tuple[str, ...]``, ``dict``.

    :raises ValueError: it is none of the kinds an option can have.
    """
    return _from_syntax(ast.parse(text, mode="eval").body)


def _from_syntax(node: ast.expr) -> Any:
    match node:
        case ast.Name(id=name) if name in NAMES:
            return NAMES[name]
        case ast.Constant(value=None):
            return None
        case ast.BinOp(op=ast.BitOr(), left=left, right=right):
            return Union[_from_syntax(left), _from_syntax(right)]  # noqa: UP007  # the members are values here
        case ast.Subscript(value=ast.Name(id="Literal"), slice=slice_):
            return Literal[ast.literal_eval(slice_)]
        case ast.Subscript(value=ast.Name(id="tuple"), slice=ast.Tuple(elts=[item, ast.Constant(value=value)])) if value is ...:
            return tuple.__class_getitem__((_from_syntax(item), ...))
        case ast.Subscript(value=ast.Name(id="dict"), slice=ast.Tuple(elts=[_, value])):
            return dict.__class_getitem__((str, _from_syntax(value)))
    raise ValueError(f"no kind of option: {ast.unparse(node)}")


def write_kind(kind: Any) -> str:
    """The text from which :func:`read_kind` makes ``kind``."""
    if is_union(kind):
        return " | ".join(write_kind(member) for member in get_args(kind))
    origin, args = get_origin(kind), get_args(kind)
    if origin is Literal:
        return f"Literal[{', '.join(map(repr, args))}]"
    if origin is tuple:
        return f"tuple[{write_kind(args[0])}, ...]"
    if origin is dict:
        return "dict" if args[1] is Any else f"dict[str, {write_kind(args[1])}]"
    if kind in (None, types.NoneType):
        return "None"
    return next((name for name, known in NAMES.items() if known is kind), str(kind))


def is_union(kind: Any) -> bool:
    """Whether ``kind`` is ``X | Y``."""
    return get_origin(kind) in (Union, types.UnionType)


def members(kind: Any) -> tuple[Any, ...]:
    """What a union is made of, ``None`` left out; anything else is made of itself."""
    kinds = get_args(kind) if is_union(kind) else (kind,)
    return tuple(member for member in kinds if member is not types.NoneType)


def may_be_none(kind: Any) -> bool:
    """Whether ``null`` is a value of ``kind``."""
    return kind is None or kind is Any or (is_union(kind) and types.NoneType in get_args(kind))


def bare(annotation: Any) -> tuple[Any, str, Range | None]:
    """An annotation without ``Annotated``, and the help text and range that were in it."""
    if get_origin(annotation) is not Annotated:
        return annotation, "", None
    kind, *extras = get_args(annotation)
    text = next((extra for extra in extras if isinstance(extra, str)), "")
    return kind, text, next((extra for extra in extras if isinstance(extra, Range)), None)


def choices(kind: Any) -> tuple[Any, ...]:
    """The values of every ``Literal`` in ``kind``, in order."""
    if get_origin(kind) is Literal:
        return get_args(kind)
    inner = members(kind) if is_union(kind) else get_args(kind) if get_origin(kind) is tuple else ()
    return tuple(choice for member in inner if member is not ... for choice in choices(member))


def describe(kind: Any, bounds: Range | None = None) -> str:
    """``kind`` in words that follow "must be": ``a whole number at least 1``."""
    words = " or ".join(_describe_one(member) for member in (*members(kind), *((None,) if may_be_none(kind) else ())))
    return f"{words}, {bounds}" if bounds and str(bounds) else words


def _describe_one(kind: Any) -> str:
    origin, args = get_origin(kind), get_args(kind)
    if origin is Literal:
        return "one of " + ", ".join(map(str, args)) if len(args) > 1 else str(args[0])
    if origin is tuple:
        return f"a list (each {describe(args[0])})" if args[0] is not str else "a list of texts"
    if origin is dict:
        return "a mapping"
    return _WORDS.get(kind, str(kind))
