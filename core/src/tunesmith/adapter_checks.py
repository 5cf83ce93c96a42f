"""Keys that other tuners know and that would change what is learned. For the plan checks of tuners without them; no torch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from tunesmith.errors import Problem

if TYPE_CHECKING:
    from tunesmith.plan import Plan

#: Flat key → what it asks for.
ASKED = {
    "additional_target": "lets no module of the model learn beside it",
    "create_new_adapter": "cannot be merged, so that no new one could begin where a given one ended",
}


def not_with(plan: Plan, name: str) -> Iterator[Problem]:
    """Keys of a user who expects of the tuner ``name`` what it does not do: passing over them would train another model."""
    for key, why in ASKED.items():
        setting = plan.unused.get(key)
        if setting is not None and setting.value:
            yield Problem(setting.origin, f"{key}: {name} {why}", f"Leave it out, or use a tuner that {key} belongs to.")
