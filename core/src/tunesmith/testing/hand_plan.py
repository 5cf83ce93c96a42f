"""A plan made by hand, for tests of the objects that are made from one.

A real plan comes from :mod:`tunesmith.planning`, out of a configuration and the installed plugins. A test of one tuner or
backend wants neither: it has the options, and perhaps two or three keys of other owners.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import Any

from tunesmith.config import Setting
from tunesmith.plan import Chosen, Plan
from tunesmith.registry import Owner

#: Who owns everything in such a plan.
OWNER = Owner("hand", "made-by-hand", "0")


def hand_plan(*options: object, picked: Mapping[str, str] | None = None, command: str = "train", **values: Any) -> Plan:
    """A plan that holds the fields of ``options`` and the keys in ``values``, and that nobody checked.

    ``hand_plan(AcmeOptions(acme_size=4), picked={"tuners": "acme"}, learning_rate=1e-4)``

    :param options: instances of options dataclasses; a field that differs from its default counts as given by the user.
    :param picked: axis → name of the one thing that is chosen of it.
    :param command: the command whose plan it is.
    :param values: flat keys of anybody else; they count as given, and win over ``options``.
    :raises TypeError: an option is no instance of a dataclass.
    """
    settings = {key: setting for one in options for key, setting in _settings(one)}
    settings |= {key: Setting(value, "by hand", OWNER.plugin, given=True) for key, value in values.items()}
    chosen = tuple(Chosen(axis, name, OWNER, "by hand") for axis, name in (picked or {}).items())
    return Plan(command=command, settings=settings, chosen=chosen)


def _settings(options: object) -> Iterator[tuple[str, Setting]]:
    if isinstance(options, type):
        raise TypeError(f"hand_plan wants an instance: {options.__name__}()")
    for item in fields(options):  # type: ignore[arg-type]
        value = getattr(options, item.name)
        given = value != item.default
        yield item.name, Setting(value, "by hand" if given else "default", OWNER.plugin, given)
