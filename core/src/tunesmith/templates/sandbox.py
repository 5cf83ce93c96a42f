"""Published chat templates run in a sandbox, with the functions that transformers gives them and nothing else."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from tunesmith.errors import TunesmithError
from tunesmith.templates.dates import printed
from tunesmith.templates.model import DateRule

if TYPE_CHECKING:
    from jinja2 import Template

#: Stand around what a template marks as generated; private characters, cut out again before anybody sees them.
OPEN_MARK, CLOSE_MARK = "\ue0f1\ue0f3", "\ue0f2\ue0f3"


class Refused(Exception):
    """A template raised its own exception about a conversation; the text is the template's."""


@lru_cache(maxsize=32)
def compiled(source: str) -> Template:
    """A chat template, ready to run.

    :raises TunesmithError: it is no Jinja, or jinja2 is not installed.
    """
    try:
        import jinja2
        from jinja2.sandbox import ImmutableSandboxedEnvironment

        from tunesmith.templates.generation_tag import GenerationTag
    except ImportError as error:
        raise TunesmithError("The tokenizer's own template needs jinja2.", "pip install jinja2") from error
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[GenerationTag, "jinja2.ext.loopcontrols"]
    )
    environment.filters["tojson"] = _tojson
    environment.globals["raise_exception"] = _refuse
    try:
        return environment.from_string(source)
    except jinja2.TemplateSyntaxError as error:
        raise TunesmithError(f"The chat template is no Jinja: line {error.lineno}: {error.message}.") from error


def run(source: str, messages: Sequence[Mapping[str, Any]], day: str, **known: Any) -> str:
    """Render messages by a chat template; generated stretches stand between the marks.

    :param day: what ``strftime_now`` tells, as in 2024-07-26: a run's text does not change with the clock.
    :raises Refused: the template raised its own exception, or stumbled over the conversation.
    """
    import jinja2

    def strftime_now(format: str) -> str:
        return printed(DateRule(format, day), None)

    try:
        return compiled(source).render(messages=messages, strftime_now=strftime_now, **known)
    except (jinja2.TemplateError, TypeError, LookupError, AttributeError, ValueError, ArithmeticError, RecursionError) as error:
        raise Refused(str(error)) from error


def _refuse(message: str) -> None:
    import jinja2

    raise jinja2.TemplateError(message)


def _tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)
