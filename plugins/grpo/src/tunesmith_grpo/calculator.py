"""The tool ``calculator``: arithmetic on numbers, and nothing else."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping
from typing import Any

from tunesmith.contracts import Tool
from tunesmith.plan import Plan

#: What may stand between two numbers, and before one.
BETWEEN: Mapping[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
}
BEFORE: Mapping[type, Callable[[Any], Any]] = {ast.USub: operator.neg, ast.UAdd: operator.pos}
#: Characters of an expression, and the largest exponent: longer and larger ones would take for ever.
LONGEST, HIGHEST = 200, 64


class Calculator(Tool):
    """Works out one expression."""

    def __init__(self, plan: Plan) -> None:
        """Nothing is remembered."""

    def call(self, arguments: Mapping[str, Any], row: Mapping[str, Any]) -> str:
        """The value of ``expression``: whole numbers as such, others with up to 12 digits.

        :raises ValueError, ArithmeticError: it is no arithmetic, too large, or divides by zero.
        """
        text = str(arguments["expression"])
        if len(text) > LONGEST:
            raise ValueError(f"an expression has at most {LONGEST} characters")
        try:
            value = _value(ast.parse(text.strip(), mode="eval").body)
        except (SyntaxError, RecursionError) as error:
            raise ValueError(f"{text!r} is no arithmetic") from error
        return str(value) if isinstance(value, int) else f"{value:.12g}"


def _value(node: ast.expr) -> int | float:
    match node:
        case ast.Constant(value=bool()):
            pass
        case ast.Constant(value=int() | float() as number):
            return number
        case ast.UnaryOp(op=sign, operand=inner) if type(sign) in BEFORE:
            found: int | float = BEFORE[type(sign)](_value(inner))
            return found
        case ast.BinOp(left=left, op=sign, right=right) if type(sign) in BETWEEN:
            return _joined(type(sign), _value(left), _value(right))
    raise ValueError(f"{ast.unparse(node)} is no arithmetic")


def _joined(sign: type, left: float, right: float) -> int | float:
    if sign is ast.Pow and abs(right) > HIGHEST:
        raise ValueError(f"an exponent is at most {HIGHEST}")
    found = BETWEEN[sign](left, right)
    if isinstance(found, complex) or abs(found) > 1e300:
        raise ValueError("the result is no number that can be written")
    value: int | float = found
    return value
