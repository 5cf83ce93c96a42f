"""How much of a model will learn, for the plan's estimate. No torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from math import prod
from typing import Any

from tunesmith import TunesmithError

from tunesmith_full.options import FreezeOptions
from tunesmith_full.selection import choose, find_layers


def count_unfrozen(shapes: Mapping[str, tuple[int, ...]], value: Callable[[str], Any]) -> int:
    """How many numbers ``freeze`` lets learn.

    What cannot be selected counts as nothing: names on disk may differ from those in memory, and the tuner itself says
    what is wrong.

    :param shapes: the shape of every weight by its name on disk.
    :param value: flat key → its value.
    """
    options = FreezeOptions(**{item.name: value(item.name) for item in fields(FreezeOptions)})
    try:
        learns = choose(shapes, find_layers(shapes), options)
    except TunesmithError:
        return 0
    return sum(prod(shapes[name]) for name in learns)
