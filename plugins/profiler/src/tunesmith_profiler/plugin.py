"""What this package offers: the tracker ``profiler``, behind the key ``enable_torch_profiler``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from tunesmith import Problem, Switch, TrackerSpec, hookimpl

if TYPE_CHECKING:
    from tunesmith.plan import Plan

TUNESMITH_API = (1, 0)

PROFILER = TrackerSpec(
    "profiler",
    "tunesmith_profiler.tracker:ProfilerTracker",
    "Where the time and memory of some steps go, by torch's profiler.",
    options="tunesmith_profiler.options:ProfilerOptions",
    switch=Switch("enable_torch_profiler"),
)
#: Keys that say what to record, without which nothing is.
DETAILS = ("profile_modules", "profiler_output_dir")


@hookimpl
def tunesmith_trackers() -> list[TrackerSpec]:
    """One tracker."""
    return [PROFILER]


@hookimpl
def tunesmith_check_plan(plan: Plan) -> Iterator[Problem]:
    """A run that is over before a step is recorded, and something to record without a profile."""
    if not any(chosen.name == PROFILER.name for chosen in plan.picked("trackers")):
        for key in DETAILS:
            if key in plan.unused and plan.unused[key].value:
                where = plan.unused[key].origin
                yield Problem(where, f"{key} says what to record, and nothing is", "Write enable_torch_profiler: true too.")
        return
    first = plan["profiler_wait_steps"] + plan["profiler_warmup_steps"] + plan["profiler_active_steps"]
    if 0 < plan["max_steps"] < first:
        where, what = plan.settings["max_steps"].origin, f"max_steps: {plan['max_steps']} ends before a profile does"
        yield Problem(where, f"{what}, after {first} steps", "Train for longer, or write smaller profiler_… steps.")
