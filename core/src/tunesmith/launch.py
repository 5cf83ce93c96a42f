"""Plan → finished run: one process or many, all with the same plan."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from tunesmith.collecting import importing
from tunesmith.defaults.launchers import TOLD
from tunesmith.errors import TunesmithError
from tunesmith.further_adapters import further_adapters
from tunesmith.model_stores import fetch_place
from tunesmith.plan import DatasetPlan, Plan
from tunesmith.plugins import Plugins
from tunesmith.run_folder import RunFolder
from tunesmith.stacks.place import interpreter

if TYPE_CHECKING:
    from tunesmith.contracts import Outcome, Source
    from tunesmith.data.flow import Prepared
    from tunesmith.specs import BackendSpec

INTERRUPTED = 130

Say = Callable[[str], None]


def say_nothing(text: str) -> None:
    """For who wants no words, only what comes of the run."""


def carry_out(plan: Plan, plugins: Plugins, say: Say = say_nothing, meeting: RunFolder | None = None) -> int:
    """Do what the plan says, in as many processes as its launcher makes.

    :param say: takes what people want to know on the way: what became of the data, where the result is.
    :param meeting: where other processes of this machine wait for the plan.
    :return: the exit status.
    :raises ConfigError: something the run needs is not here.
    """
    plan.check_ready()
    prepare_environment(plan, plugins)
    plan = fetch(plan, plugins)
    offer = plugins.launchers.get(plan.the("launchers").wanted)
    early = get_ready(plan, plugins, say) if meeting or offer.spec.spreads else None
    if meeting:
        meeting.publish(plan)
    launcher = offer.load()(plan)
    status: int = launcher.spread(plan, lambda same: status_of(run(same, plugins, early or get_ready(same, plugins, say), say)))
    return status


def status_of(outcome: Outcome) -> int:
    """The exit status of a run that came to an end."""
    return INTERRUPTED if outcome.interrupted else 0


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
    for offer in plugins.backends:
        stand_guard(offer.spec)
    for chosen in plan.picked("backends"):
        spec = plugins.backends.get(chosen.wanted).spec
        if "optim_torch" not in plan.settings or plan["optim_torch"]:
            for name, value in spec.environment.items():
                os.environ.setdefault(name, value)
        if alone and spec.visible_devices:
            os.environ[spec.visible_devices] = os.environ.get(spec.visible_devices, "0").partition(",")[0]


def stand_guard(backend: BackendSpec) -> None:
    """Let a backend keep its packages from acting when torch is imported, also where the run uses another one."""
    if backend.guard:
        module, _, function = backend.guard.partition(":")
        getattr(import_module(module), function)()


# ---- processes that others have started ------------------------------------------------------------------------------


def meeting_place(environ: Mapping[str, str] = os.environ) -> RunFolder | None:
    """Where the processes that another launcher started on this machine find their plan; ``None`` for who is alone."""
    return RunFolder.shared(environ) if all(environ.get(name) for name in TOLD) else None


@contextmanager
def hosting(meeting: RunFolder | None) -> Iterator[None]:
    """Within it, the first process of a machine plans and prepares; the others hear of it when that fails."""
    try:
        yield
    except BaseException as error:
        if meeting and not meeting.published:
            meeting.leave(int(os.environ["RANK"]), 1, error)
        raise
    finally:
        if meeting and meeting.published:
            meeting.remove()


def join(meeting: RunFolder) -> int:
    """Be one of the other processes of a machine: wait for the plan, and do it."""
    plan = meeting.wait_for_plan()
    return 1 if plan is None else work(plan)


def work(plan: Plan, say: Say = say_nothing) -> int:
    """What a process does that was given a plan which another has made: the data is prepared, so finding it costs little."""
    plugins = Plugins(without=plan.without, only=plan.only, local=Path(plan.local) if plan.local else None)
    prepare_environment(plan, plugins)
    return status_of(run(plan, plugins, get_ready(plan, plugins), say))


# ---- what every process does -----------------------------------------------------------------------------------------


def get_ready(plan: Plan, plugins: Plugins, say: Say = say_nothing) -> Prepared:
    """Prepare the data. Where others do so at the same moment, one works and the others wait.

    :raises TunesmithError: the data cannot be read.
    """
    from tunesmith.data.digest import digest
    from tunesmith.data.flow import prepare

    prepared = prepare(plan, plugins)
    say(digest(prepared.report))
    return prepared


def train(plan: Plan, plugins: Plugins, say: Say = say_nothing) -> Outcome:
    """Prepare the data, open the session, run the stage, write the artefacts, all in this process."""
    plan = fetch(plan, plugins)
    return run(plan, plugins, get_ready(plan, plugins, say), say)


def run(plan: Plan, plugins: Plugins, prepared: Prepared, say: Say = say_nothing) -> Outcome:
    """Open the session, run the stage, write the artefacts."""
    # From here on torch is imported: the plan is made, the data is ready, and no device is held in between.
    with importing():
        from tunesmith.runtime.advised import advised
        from tunesmith.runtime.artefacts import finish
        from tunesmith.runtime.processes import part
        from tunesmith.runtime.recording import recorded
        from tunesmith.runtime.session import open_session

    session = open_session(plan, plugins, prepared)
    outcome: Outcome | None = None
    try:
        with advised(session.backend), recorded(session) as recording:
            plugins.run_started(session)
            outcome = session.trainer.run(session)
            finish(session, outcome)
            recording.end(outcome)
    finally:
        plugins.run_ended(session, outcome)
        session.close()
    if session.args.process_index == 0:
        say(summary(plan, outcome))
    part(session.args)
    return outcome


def fetch(plan: Plan, plugins: Plugins) -> Plan:
    """Bring models and adapters that are not on this machine here, and find out the commits of datasets.

    :return: the plan with places and versions, so that every process of the run sees the same ones.
    :raises TunesmithError: one cannot be had.
    """
    names = [name for wish in plan.models.values() for name in (wish.path, *wish.adapters) if name]
    names += further_adapters(plan).values()
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
