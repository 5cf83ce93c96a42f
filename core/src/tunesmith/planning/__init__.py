"""RunConfig + plugins → Plan, or every problem at once. Needs no device and imports no torch."""

from __future__ import annotations

from dataclasses import replace

from tunesmith.config import RunConfig
from tunesmith.errors import ConfigError, Lacking, Notice, Problem
from tunesmith.plan import Plan
from tunesmith.planning.batch_size import size_batches
from tunesmith.planning.checks import check
from tunesmith.planning.choose import choose
from tunesmith.planning.datasets import find_datasets
from tunesmith.planning.draft import Draft
from tunesmith.planning.estimate import estimate
from tunesmith.planning.preparing import prepare
from tunesmith.planning.quantizing import quantize
from tunesmith.planning.recorded_run import recall
from tunesmith.planning.roles import wish
from tunesmith.planning.settings_in_use import settle
from tunesmith.planning.spreading import count
from tunesmith.planning.template_advice import advise
from tunesmith.plugins import Broken, Plugins

#: Each step reads what the ones before it decided.
STEPS = (recall, choose, wish, quantize, settle, count, prepare, find_datasets, advise, size_batches, check, estimate)


def make(config: RunConfig, plugins: Plugins, command: str, *, strict: bool = False) -> Plan:
    """Decide and check everything that ``command`` will do with this configuration.

    What is merely not here (a device, a package, a file) is listed in ``Plan.missing``; ``strict`` makes unused keys an error.

    :raises ConfigError: the configuration is wrong; lists every problem of reading it, of the host and of all plugins.
    """
    draft = Draft(config, plugins, plugins.commands.get(command).spec)
    for step in STEPS:
        step(draft)
    if strict:
        draft.problems += [_unused(key, setting.origin, setting.owner) for key, setting in draft.unused.items()]
    plan = _finish(draft, command)
    found = plugins.check_plan(plan)
    notices = (*plan.notices, *(one.what for one in found if isinstance(one, Notice)))
    plan = replace(plan, notices=notices, missing=(*plan.missing, *(one for one in found if isinstance(one, Lacking))))
    wrong = (one for one in found if isinstance(one, Problem) and not isinstance(one, Lacking))
    problems = [*config.problems, *draft.problems, *wrong]
    if problems:
        raise ConfigError([*problems, *plan.missing])
    return plan


def _unused(key: str, origin: str, owner: str) -> Problem:
    return Problem(origin, f"{key} is not used by this run: it belongs to {owner}", "Leave it out, or run without --strict.")


def _not_loaded(broken: Broken) -> str:
    reason = str(broken.error).strip().partition("\n")[0]
    return f"the plugin {broken.owner} cannot be loaded and is left out: {type(broken.error).__name__}: {reason}"


def _finish(draft: Draft, command: str) -> Plan:
    plugins = draft.plugins
    return Plan(
        command=command,
        settings=draft.settings,
        chosen=tuple(draft.chosen),
        models=draft.models,
        places=draft.places,
        datasets=draft.datasets,
        unused=draft.unused,
        notices=(*draft.config.notices, *draft.notices, *map(_not_loaded, plugins.broken.values())),
        missing=tuple(dict.fromkeys(draft.missing)),
        estimate=draft.estimate,
        spread=draft.spread,
        config_folder=str(draft.config.file.parent) if draft.config.file else ".",
        without=plugins.without,
        only=plugins.only,
        local=plugins.local,
        stack=draft.stack,
        server_stack=draft.server_stack,
    )
