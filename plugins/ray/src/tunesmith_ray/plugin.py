"""What this package offers: the launcher ``ray``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from tunesmith import LauncherSpec, Problem, Switch, hookimpl

if TYPE_CHECKING:
    from tunesmith.plan import Plan

TUNESMITH_API = (1, 0)


@hookimpl
def tunesmith_launchers() -> list[LauncherSpec]:
    """Picked by ``use_ray``."""
    return [
        LauncherSpec(
            "ray",
            "tunesmith_ray.launcher:RayLauncher",
            "Workers of a Ray cluster, on one machine or many.",
            options="tunesmith_ray.options:RayOptions",
            needs=("ray",),
            switch=Switch("use_ray", True),
            priority=50,
            processes="tunesmith_ray.choice:processes",
            spreads=True,
        )
    ]


@hookimpl
def tunesmith_check_plan(plan: Plan) -> Iterator[Problem]:
    """Resources that no worker could have."""
    if not any(chosen.name == "ray" for chosen in plan.picked("launchers")):
        return
    for name, amount in (plan["resources_per_worker"] or {}).items():
        if isinstance(amount, bool) or not isinstance(amount, (int, float)) or amount < 0:
            where = plan.settings["resources_per_worker"].origin
            yield Problem(where, f"resources_per_worker: {name} is a number from 0, not {amount!r}")
