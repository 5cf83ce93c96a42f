"""What this package offers: the tracker ``swanlab``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from tunesmith import Problem, Switch, TrackerSpec, hookimpl

if TYPE_CHECKING:
    from tunesmith.plan import Plan

TUNESMITH_API = (1, 0)


@hookimpl
def tunesmith_trackers() -> list[TrackerSpec]:
    """By ``report_to: swanlab`` or ``use_swanlab: true``."""
    return [
        TrackerSpec(
            "swanlab",
            "tunesmith_swanlab.tracker:SwanLabTracker",
            "SwanLab, in the cloud or on this machine.",
            options="tunesmith_swanlab.options:SwanLabOptions",
            switch=Switch("use_swanlab"),
        )
    ]


@hookimpl
def tunesmith_check_plan(plan: Plan) -> Iterator[Problem]:
    """A bot's secret without its address tells nobody."""
    if _picked(plan) and plan["swanlab_lark_secret"] and not plan["swanlab_lark_webhook_url"]:
        where = plan.settings["swanlab_lark_secret"].origin
        yield Problem(where, "swanlab_lark_secret has no bot to go with", "Give swanlab_lark_webhook_url: too.")


def _picked(plan: Plan) -> bool:
    return any(chosen.name == "swanlab" for chosen in plan.picked("trackers"))
