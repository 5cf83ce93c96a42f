"""What can be wrong with a spec and its options, in words for the author of a plugin."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Iterator
from dataclasses import MISSING, Field, fields, is_dataclass
from functools import reduce
from importlib.util import find_spec
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import click

from tunesmith import specs
from tunesmith.errors import TunesmithError
from tunesmith.options import Range
from tunesmith.spec import options_of
from tunesmith.templates.model import ToolTable
from tunesmith.testing.contract_check import CONTRACTS, contract_faults

SUMMARY_LENGTH = 80
#: A name is written in YAML, on the command line and before ``@plugin``.
NAME = re.compile(r"[^\s@,=:/]+")
KEY = re.compile(r"[a-z][a-z0-9_]*")


def spec_faults(spec: Any) -> Iterator[str]:
    """What is wrong with the words of a spec; nothing is imported."""
    if not NAME.fullmatch(spec.name):
        yield f"the name {spec.name!r} is empty or holds a space or one of @ , = : /"
    if not spec.summary:
        yield f"{spec.name!r} has no summary"
    elif "\n" in spec.summary or len(spec.summary) > SUMMARY_LENGTH:
        yield f"the summary of {spec.name!r} is not one line of at most {SUMMARY_LENGTH} characters: {spec.summary!r}"
    if spec.load and not re.fullmatch(r"[\w.]+:[\w.]+", spec.load):
        yield f"{spec.name!r} has load={spec.load!r}, which is not written as module:attribute"


def missing_packages(spec: Any) -> tuple[str, ...]:
    """What the spec says it needs and this environment lacks."""
    return tuple(name for name in spec.needs if find_spec(name) is None)


def object_faults(spec: Any) -> Iterator[str]:
    """What is wrong with the object behind a spec, after importing it."""
    if not spec.load:
        return
    try:
        found = load(spec)
    except Exception as error:  # whatever a plugin's module raises, its author wants to read it
        yield f"{spec.name!r} cannot be loaded from {spec.load}: {type(error).__name__}: {error}"
        return
    contract = CONTRACTS.get(type(spec))
    if isinstance(spec, specs.CommandSpec):
        yield from _command_faults(spec, found)
    elif isinstance(spec, specs.TemplateSpec):
        yield from _template_faults(spec, found)
    elif contract is not None and not isinstance(found, ToolTable):
        yield from contract_faults(found, contract)


def load(spec: Any) -> Any:
    """The object that ``spec.load`` names."""
    module, _, path = spec.load.partition(":")
    return reduce(getattr, path.split("."), importlib.import_module(module))


def _command_faults(spec: Any, found: Any) -> Iterator[str]:
    if not isinstance(found, click.Command):
        yield f"{spec.load} is {found!r}, which is no click command"
    elif not found.help:
        yield f"the command {spec.name!r} has no help: give its function a docstring"


def _template_faults(spec: specs.TemplateSpec, read: Any) -> Iterator[str]:
    try:
        read(spec)
    except TunesmithError as error:
        yield error.message


def default_keys(spec: Any) -> dict[str, Any]:
    """The flat keys that a spec owns, with their defaults."""
    options = options_of(spec)
    return {item.name: item.default for item in fields(options)} if options else {}


def option_faults(options: Any) -> Iterator[str]:
    """What is wrong with an options dataclass, where there is one."""
    if options is None:
        return
    if not (inspect.isclass(options) and is_dataclass(options)):
        yield f"options is {options!r}, which is no dataclass"
        return
    if not options.__dataclass_params__.frozen:  # type: ignore[attr-defined]
        yield f"{options.__name__} is not frozen"
    hints = get_type_hints(options, include_extras=True)
    for field in fields(options):
        yield from (f"{options.__name__}.{field.name} {fault}" for fault in _field_faults(field, hints[field.name]))


def _field_faults(field: Field[Any], hint: Any) -> Iterator[str]:
    notes = get_args(hint)[1:] if get_origin(hint) is Annotated else ()
    helps = [note for note in notes if isinstance(note, str)]
    default = field.default_factory() if field.default_factory is not MISSING else field.default
    if not KEY.fullmatch(field.name):
        yield "is not written in small letters, digits and underscores, as a flat key is"
    if len(helps) != 1 or not helps[0].strip():
        yield 'has no help: write Annotated[type, "What it does."]'
    if default is MISSING:
        yield "has no default; a flat key always has one, None where nothing is chosen"
    for bounds in (note for note in notes if isinstance(note, Range)):
        if isinstance(default, int | float) and default not in bounds:
            yield f"has the default {default!r}, which is not {bounds}"
