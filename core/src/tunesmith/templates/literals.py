"""Values as Python writes them, read from text without running any of it: ``'it\\'s'``, ``None``, ``[1, {'a': True}]``."""

from __future__ import annotations

import ast
import json
import re
from typing import Any

_QUOTED = re.compile(r"'(?:\\.|[^'\\])*'|\"(?:\\.|[^\"\\])*\"", re.DOTALL)
_WORD = re.compile(r"[-+\w.]+")
_CLOSING = {"[": "]", "{": "}", "(": ")"}
#: Names that JSON writes otherwise than Python; models mix them.
_NAMES = {"true": True, "false": False, "null": None}


def literal_end(text: str, at: int) -> int | None:
    """Where the value at ``at`` ends: a quoted text, a word, or a bracket with everything in it."""
    waiting: list[str] = []
    while at < len(text):
        found = _QUOTED.match(text, at) or _WORD.match(text, at)
        if found is not None:
            at = found.end()
        elif text[at] in _CLOSING:
            waiting.append(_CLOSING[text[at]])
            at += 1
        elif waiting:
            if text[at] == waiting[-1]:
                waiting.pop()
            at += 1
        else:
            return None
        if not waiting:
            return at
    return None


def literal(text: str) -> Any:
    """The value that a text writes, in JSON or in Python; a text that writes none is itself."""
    try:
        return json.loads(text)
    except ValueError:
        pass
    try:
        return _value(ast.parse(text.strip(), mode="eval").body)
    except (SyntaxError, ValueError):
        return text[1:-1] if _QUOTED.fullmatch(text) else text  # a line that ends inside the quotes: Python has no such text


def _value(node: ast.expr) -> Any:
    if isinstance(node, ast.Constant) and isinstance(node.value, str | int | float | None):
        return node.value
    if isinstance(node, ast.Name) and node.id in _NAMES:
        return _NAMES[node.id]
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub) and isinstance(node.operand, ast.Constant):
        return -_number(node.operand.value)
    if isinstance(node, ast.List | ast.Tuple):
        return [_value(item) for item in node.elts]
    if isinstance(node, ast.Dict):
        return {str(_value(key)): _value(item) for key, item in zip(node.keys, node.values, strict=True) if key is not None}
    raise ValueError(f"{ast.unparse(node)} is no plain value")


def _number(value: Any) -> Any:
    if isinstance(value, int | float):
        return value
    raise ValueError(f"{value!r} is no number")
