"""Plan → finished run: one process or many, all with the same plan."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from tunesmith.errors import TunesmithError
from tunesmith.model_stores import fetch_place
from tunesmith.plan import DatasetPlan, Plan
from tunesmith.plugins import Plugins
from tunesmith.stacks.place import interpreter

if TYPE_CHECKING:
    from tunesmith.contracts import Outcome, Source

INTERRUPTED = 130

Say = Callable[[str], None]


def say_nothing(text: str) -> None:
    """For who wants no words, only what comes of the run."""


def carry_out(plan: Plan, plugins: Plugins, say: Say = say_nothing) -> int:
    """Do what the plan says, in as many processes as its launcher makes.

    :param say: takes what people want to know on the way: what became of the data, where the result is.
    :return: the exit status.
    :raises ConfigError: something the run needs is not here.
    """
    plan.check_ready()
    prepare_environment(plan, plugins)
    plan = fetch(plan, plugins)
    launcher = plugins.launchers.get(plan.the("launchers").wanted).load()(plan)
    status: int = launcher.spread(plan, lambda same: work(same, plugins, say))
    return status


def prepare_environment(plan: Plan, plugins: Plugins) -> None:
    """Set what the backend wants set before torch is imported; what the user has set stays.

    A process that shares its run with no other gets one device: transformers would otherwise split batches over all of them
    within it (DataParallel), which changes what a step is.

    :raises TunesmithError: the plan belongs into a stack, and this process is not in it.
    """
    if plan.stack is not None:
        hint = f"Run it with tunesmith {plan.command}, or with the Python of the stack: {interpreter(plan.stack)}"
        raise TunesmithError(f"This run belongs into the stack {plan.stack}, not into this process.", hint)
    alone = "LOCAL_RANK" not in os.environ and not any(
        plugins.launchers.get(chosen.wanted).spec.spreads for chosen in plan.picked("launchers")
    )
    for chosen in plan.picked("backends"):
        spec = plugins.backends.get(chosen.wanted).spec
        for name, value in spec.environment.items():
            os.environ.setdefault(name, value)
        if alone and spec.visible_devices:
            os.environ[spec.visible_devices] = os.environ.get(spec.visible_devices, "0").partition(",")[0]


def work(plan: Plan, plugins: Plugins, say: Say = say_nothing) -> int:
    """What each process of a run does; preparing data again costs nothing where it is already done."""
    outcome = train(plan, plugins, say)
    return INTERRUPTED if outcome.interrupted else 0


def work_from_file(file: Path) -> int:
    """As :func:`work`, in a process of its own that was given the plan as a file."""
    plan = Plan.read(file)
    local = Path(plan.local) if plan.local else None
    plugins = Plugins(without=plan.without, only=plan.only, local=local)
    prepare_environment(plan, plugins)
    return work(plan, plugins)


def train(plan: Plan, plugins: Plugins, say: Say = say_nothing) -> Outcome:
    """Prepare the data, open the session, run the stage, write the artefacts."""
    from tunesmith.data.digest import digest
    from tunesmith.data.flow import prepare

    plan = fetch(plan, plugins)
    prepared = prepare(plan, plugins)
    say(digest(prepared.report))
    # From here on torch is imported: the plan is made, the data is ready, and no device is held in between.
    from tunesmith.runtime.artefacts import finish
    from tunesmith.runtime.recording import recorded
    from tunesmith.runtime.session import open_session

    session = open_session(plan, plugins, prepared)
    outcome: Outcome | None = None
    try:
        with recorded(session) as recording:
            plugins.run_started(session)
            outcome = session.trainer.run(session)
            finish(session, outcome)
            recording.end(outcome)
    except Exception as error:
        advice = session.backend.advice(error)
        if advice:
            raise TunesmithError(f"{type(error).__name__}: {error}", advice) from error
        raise
    finally:
        plugins.run_ended(session, outcome)
        session.close()
    say(summary(plan, outcome))
    return outcome


def fetch(plan: Plan, plugins: Plugins) -> Plan:
    """Bring models and adapters that are not on this machine here, and find out the commits of datasets.

    :return: the plan with places and versions, so that every process of the run sees the same ones.
    :raises TunesmithError: one cannot be had.
    """
    names = [name for wish in plan.models.values() for name in (wish.path, *wish.adapters) if name]
    places = {name: fetch_place(name, plan, plugins) for name in dict.fromkeys(names) if not Path(name).expanduser().is_dir()}
    datasets = tuple(_versioned(dataset, plan, plugins) for dataset in plan.datasets)
    return replace(plan, places=places, datasets=datasets)


def _versioned(dataset: DatasetPlan, plan: Plan, plugins: Plugins) -> DatasetPlan:
    if dataset.version or dataset.files:
        return dataset
    source: Source = plugins.sources.get(dataset.source).load()(dataset, plan)
    return replace(dataset, version=source.version())


def summary(plan: Plan, outcome: Outcome) -> str:
    """How a run ended, in one line."""
    figures = ", ".join(f"{name} {value:.4g}" for name, value in outcome.metrics.items() if name.endswith(("loss", "accuracy")))
    why = f" (stopped by {outcome.stopped})" if outcome.stopped else ""
    return f"{plan['stage']}: {outcome.steps} steps{why}{', ' + figures if figures else ''}; saved in {plan['output_dir']}"
