"""What can be done to a value on its way into the text: ``{content|trim}``, ``{tool|json4}``.

Each filter is one row: its name, what it means, the Python that does it and the Jinja that does the same.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Filter:
    """One filter. ``jinja`` holds ``{0}`` where the value's expression goes."""

    meaning: str
    apply: Callable[[Any], Any]
    jinja: str


def _json(indent: int | None = None, separators: tuple[str, str] | None = None) -> Callable[[Any], str]:
    def write(value: Any) -> str:
        return json.dumps(value, ensure_ascii=False, indent=indent, separators=separators)

    return write


def text_of(value: Any) -> str:
    """A JSON value as a template prints it bare: text as it is, everything else as Jinja would print it."""
    return value if isinstance(value, str) else "" if value is None else str(value)


def text_or_json(value: Any) -> str:
    """Text as it is, everything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def printed(value: Any) -> str:
    """Text as it is, objects and lists as JSON, everything else as Jinja's ``string`` prints it."""
    if isinstance(value, Mapping | list | tuple):
        return json.dumps(value, ensure_ascii=False)
    return str(value)


def python(value: Any) -> str:
    """Text in single quotes with escapes, objects and lists as JSON, everything else as Python prints it."""
    if not isinstance(value, str):
        return printed(value)
    escaped = value.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n").replace("\r", "\\r")
    return f"'{escaped}'"


def single_newlines(text: Any) -> str:
    """One line end where there were two."""
    return text_of(text).replace("\r\n", "\n").replace("\n\n", "\n")


def title(text: Any) -> str:
    """Every word with a capital, where a word begins after white space, a hyphen or an opening bracket."""
    words = re.split(r"([-\s({\[<]+)", text_of(text))
    return "".join(word[:1].upper() + word[1:].lower() for word in words)


def _strip(text: Any, how: Callable[..., str], *what: str) -> str:
    return how(text_of(text), *what)


_PRINTED = "({0}|tojson if {0} is mapping or ({0} is sequence and {0} is not string) else {0}|string)"
_ESCAPED = r"""("'" ~ ({0}|replace('\\', '\\\\')|replace("'", "\\'")|replace('\n', '\\n')|replace('\r', '\\r')) ~ "'")"""

FILTERS: Mapping[str, Filter] = {
    "trim": Filter("without white space at both ends", lambda x: _strip(x, str.strip), "({0} or '')|trim"),
    "trim_start": Filter("without white space before it", lambda x: _strip(x, str.lstrip), "({0} or '').lstrip()"),
    "trim_end": Filter("without white space after it", lambda x: _strip(x, str.rstrip), "({0} or '').rstrip()"),
    "trim_newlines": Filter("without line ends at both ends", lambda x: _strip(x, str.strip, "\n"), "({0} or '').strip('\\n')"),
    "trim_newlines_start": Filter(
        "without line ends before it", lambda x: _strip(x, str.lstrip, "\n"), "({0} or '').lstrip('\\n')"
    ),
    "trim_newlines_end": Filter(
        "without line ends after it", lambda x: _strip(x, str.rstrip, "\n"), "({0} or '').rstrip('\\n')"
    ),
    "last_nine": Filter("its last nine characters", lambda x: text_of(x)[-9:], "({0} or '')[-9:]"),
    "json": Filter("as JSON on one line", _json(), "{0}|tojson"),
    "json2": Filter("as JSON, indented by two", _json(2), "{0}|tojson(indent=2)"),
    "json4": Filter("as JSON, indented by four", _json(4), "{0}|tojson(indent=4)"),
    "indent4": Filter(
        "four spaces before every line but the first",
        lambda x: text_of(x).replace("\n", "\n    "),
        r"({0} or '')|replace('\n', '\n    ')",
    ),
    "single_newlines": Filter(
        "one line end where there were two", single_newlines, r"({0} or '')|replace('\r\n', '\n')|replace('\n\n', '\n')"
    ),
    "compact": Filter("as JSON without spaces", _json(None, (",", ":")), "{0}|tojson(separators=(',', ':'))"),
    "text_or_json": Filter("text as it is, else JSON", text_or_json, "({0} if {0} is string else {0}|tojson)"),
    "printed": Filter(
        "text as it is, objects and lists as JSON, the rest as Python prints it",
        printed,
        _PRINTED,
    ),
    "python": Filter("as an argument of a call in Python", python, f"({_ESCAPED} if {{0}} is string else {_PRINTED})"),
    "upper": Filter("in capitals", lambda x: text_of(x).upper(), "({0} or '')|upper"),
    "title": Filter("every word with a capital", title, "({0} or '')|title"),
    "lower": Filter("in small letters", lambda x: text_of(x).lower(), "({0} or '')|lower"),
}
