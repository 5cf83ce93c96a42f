"""What every spec has, and the key that turns a thing on."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Any


@dataclass(frozen=True)
class Spec:
    """What all specs have in common.

    :param name: the word a user writes, unique within its axis.
    :param load: ``"package.module:attribute"`` of the object that does the work.
    :param summary: one line, at most 80 characters, for lists and ``--help``.
    :param options: ``"package.module:Class"`` of a frozen dataclass whose field names are the flat configuration keys that this
        thing owns, or the class itself; :func:`options_of` imports it when somebody asks for keys.
    :param needs: top-level Python packages its object imports beyond what its distribution requires; looked up, never
        imported, while planning.
    :param stack: the name of the stack it must run in, where its pins clash with everybody else's.
    """

    name: str
    load: str
    summary: str
    options: type | str | None = None
    needs: tuple[str, ...] = ()
    stack: str | None = None


@dataclass(frozen=True)
class Switch:
    """The flat key that turns something on, and the value that does it (``use_acme``: ``True``)."""

    key: str
    value: Any = True


def options_of(spec: Any) -> type | None:
    """The dataclass with the flat keys that a spec owns; ``None`` where it has none, as things that are no :class:`Spec` do.

    :raises ImportError, AttributeError: it names a class that is not there.
    """
    named = getattr(spec, "options", None)
    if not isinstance(named, str):
        return named
    module, _, attribute = named.partition(":")
    found: type = getattr(import_module(module), attribute)
    return found
