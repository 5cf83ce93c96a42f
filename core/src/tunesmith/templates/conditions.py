"""Conditions: ``last and not calls``, ``value is text``, ``content|trim``, ``key in tool.function.parameters.required``.

The grammar is the common part of Python and Jinja, so that one text serves both; Python's parser reads it and nothing is
ever evaluated by Python itself.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from tunesmith.templates.filters import FILTERS
from tunesmith.templates.vocabulary import KINDS

Scope: TypeAlias = Mapping[str, Any]
Predicate: TypeAlias = Callable[[Scope], Any]

_COMPARE: Mapping[type, tuple[str, Callable[[Any, Any], bool]]] = {
    ast.Eq: ("==", operator.eq),
    ast.NotEq: ("!=", operator.ne),
    ast.Gt: (">", operator.gt),
    ast.Lt: ("<", operator.lt),
    ast.In: ("in", lambda item, many: item in (many or ())),
    ast.NotIn: ("not in", lambda item, many: item not in (many or ())),
}


class BadCondition(ValueError):
    """A condition that cannot be read; says which part."""


def tree(text: str) -> ast.expr:
    """Read a condition.

    :raises BadCondition: it uses anything but names, dotted paths, filters, literals, and, or, not, comparisons and
        ``is KIND``.
    """
    try:
        found = ast.parse(text.strip(), mode="eval").body
    except SyntaxError as error:
        raise BadCondition(f"{text!r} is no condition") from error
    _check(found)
    return found


def _check(node: ast.expr) -> None:
    if isinstance(node, ast.BoolOp):
        for value in node.values:
            _check(value)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        _check(node.operand)
    elif isinstance(node, ast.Compare) and len(node.ops) == 1:
        _check_comparison(node)
    elif isinstance(node, ast.List | ast.Tuple):
        for value in node.elts:
            _check(value)
    elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        _check(node.left)
        if not (isinstance(node.right, ast.Name) and node.right.id in FILTERS):
            raise BadCondition(f"{ast.unparse(node.right)!r} is no filter")
    elif not (isinstance(node, ast.Constant) and isinstance(node.value, str | int)):
        path_of(node)


def _check_comparison(node: ast.Compare) -> None:
    right = node.comparators[0]
    _check(node.left)
    if isinstance(node.ops[0], ast.Is | ast.IsNot):
        if not (isinstance(right, ast.Name) and right.id in KINDS):
            raise BadCondition(f"'is' asks for a kind: {', '.join(KINDS)}")
    elif type(node.ops[0]) in _COMPARE:
        _check(right)
    else:
        raise BadCondition(f"{ast.unparse(node)!r} compares in a way conditions do not know")


def path_of(node: ast.expr) -> tuple[str, ...]:
    """``tool.function.name`` → its words."""
    if isinstance(node, ast.Name):
        return (node.id,)
    if isinstance(node, ast.Attribute):
        return (*path_of(node.value), node.attr)
    raise BadCondition(f"{ast.unparse(node)!r} is neither a name nor a path")


def names_in(text: str) -> Iterator[str]:
    """The first word of every path in a condition."""
    found = list(ast.walk(tree(text)))
    words = {id(node.comparators[0]) for node in found if _asks_kind(node)}  # type: ignore[attr-defined]
    words |= {id(node.right) for node in found if isinstance(node, ast.BinOp)}
    for node in found:
        if isinstance(node, ast.Name) and id(node) not in words:
            yield node.id


def _asks_kind(node: ast.AST) -> bool:
    return isinstance(node, ast.Compare) and isinstance(node.ops[0], ast.Is | ast.IsNot)


# ---- in Python -------------------------------------------------------------------------------------------------------


def predicate(text: str) -> Predicate:
    """The condition as a function of a scope."""
    return _compiled(tree(text))


def _compiled(node: ast.expr) -> Predicate:
    if isinstance(node, ast.BoolOp):
        return _joined([_compiled(value) for value in node.values], isinstance(node.op, ast.And))
    if isinstance(node, ast.UnaryOp):
        inner = _compiled(node.operand)
        return lambda scope: not inner(scope)
    if isinstance(node, ast.Compare):
        return _comparison(node)
    if isinstance(node, ast.Constant):
        return lambda scope: node.value
    if isinstance(node, ast.BinOp):
        return _filtered(node)
    path = path_of(node)
    if path == ("system",):
        return lambda scope: scope["system"] is not None
    return lookup(path)


def _filtered(node: ast.BinOp) -> Predicate:
    find, apply = _value(node.left), FILTERS[node.right.id].apply  # type: ignore[attr-defined]
    return lambda scope: apply(find(scope))


def _joined(parts: Sequence[Predicate], every: bool) -> Predicate:
    if len(parts) == 2:
        one, two = parts
        return (lambda scope: one(scope) and two(scope)) if every else (lambda scope: one(scope) or two(scope))
    join = all if every else any
    return lambda scope: join(part(scope) for part in parts)


def _comparison(node: ast.Compare) -> Predicate:
    left, right = _value(node.left), node.comparators[0]
    if isinstance(node.ops[0], ast.Is | ast.IsNot):
        kind, wanted = right.id, isinstance(node.ops[0], ast.Is)  # type: ignore[attr-defined]
        return lambda scope: is_kind(left(scope), kind) is wanted
    compare, other = _COMPARE[type(node.ops[0])][1], _value(right)
    return lambda scope: compare(left(scope), other(scope))


def _value(node: ast.expr) -> Predicate:
    if isinstance(node, ast.List | ast.Tuple):
        values = [_value(value) for value in node.elts]
        return lambda scope: [value(scope) for value in values]
    return _compiled(node) if isinstance(node, ast.Constant | ast.BinOp) else lookup(path_of(node))


def lookup(path: tuple[str, ...]) -> Predicate:
    """What stands at a path of a scope; ``None`` where nothing does."""
    name, *rest = path
    if not rest:
        return lambda scope: scope.get(name)

    def find(scope: Scope) -> Any:
        found = scope.get(name)
        for key in rest:
            found = found.get(key) if isinstance(found, Mapping) else None
        return found

    return find


def is_kind(value: Any, kind: str) -> bool:
    """Whether a JSON value is of one of the kinds in the vocabulary."""
    if kind == "number":
        return isinstance(value, int | float) and not isinstance(value, bool)
    if kind == "missing":
        return value is None
    return isinstance(value, {"text": str, "boolean": bool, "object": Mapping, "list": list | tuple}[kind])


# ---- in Jinja --------------------------------------------------------------------------------------------------------


def to_jinja(text: str) -> str:
    """The condition as a Jinja expression over the same names."""
    return _jinja(tree(text))


def _jinja(node: ast.expr) -> str:
    if isinstance(node, ast.BoolOp):
        word = " and " if isinstance(node.op, ast.And) else " or "
        return f"({word.join(_jinja(value) for value in node.values)})"
    if isinstance(node, ast.UnaryOp):
        return f"(not {_jinja(node.operand)})"
    if isinstance(node, ast.Compare):
        return _jinja_comparison(node)
    if isinstance(node, ast.Constant | ast.BinOp):
        return _jinja_value(node)
    path = path_of(node)
    return "(system is not none)" if path == ("system",) else jinja_path(path)


def _jinja_comparison(node: ast.Compare) -> str:
    left, right, op = _jinja_value(node.left), node.comparators[0], node.ops[0]
    if isinstance(op, ast.Is | ast.IsNot):
        asked = KINDS[right.id].format(left)  # type: ignore[attr-defined]
        return f"({asked})" if isinstance(op, ast.Is) else f"(not ({asked}))"
    many = f"({_jinja_value(right)} or [])" if isinstance(op, ast.In | ast.NotIn) else _jinja_value(right)
    return f"({left} {_COMPARE[type(op)][0]} {many})"


def _jinja_value(node: ast.expr) -> str:
    if isinstance(node, ast.List | ast.Tuple):
        return f"[{', '.join(map(_jinja_value, node.elts))}]"
    if isinstance(node, ast.BinOp):
        return f"({FILTERS[node.right.id].jinja.format(_jinja_value(node.left))})"  # type: ignore[attr-defined]
    return ast.unparse(node) if isinstance(node, ast.Constant) else jinja_path(path_of(node))


def jinja_path(path: tuple[str, ...]) -> str:
    """A path as Jinja. Keys go through ``get``: ``value.items`` would find the method, not the key."""
    text = path[0]
    for key in path[1:]:
        text = f"({text} or {{}}).get('{key}')" if text != path[0] else f"{text}.get('{key}')"
    return text
