"""The training arguments of a run: what the user wrote, over what backend, launcher, accelerators and the host decide."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from tunesmith.errors import ConfigError, Problem, TunesmithError
from tunesmith.plan import Plan
from tunesmith.runtime.argument_checks import check_arguments
from tunesmith.runtime.device_choice import Home, make_arguments

OWNER = "transformers"
#: Keys of transformers' that the host carries out itself: the arguments do not need to know.
OURS = ("resume_from_checkpoint", "report_to")
#: Names that transformers gave up for these.
RENAMED = {
    "gradient_checkpointing": "activation_checkpointing",
    "gradient_checkpointing_kwargs": "activation_checkpointing_kwargs",
}


@dataclass(frozen=True)
class Demand:
    """Training arguments that one part of the run needs. ``who`` is how it is named to the user."""

    who: str
    values: Mapping[str, Any]


def build_arguments(plan: Plan, kind: type, demands: Iterable[Demand], home: Home | None = None) -> Any:
    """The one instance of ``kind`` (a subclass of ``transformers.TrainingArguments``) that a run has.

    :param home: where this process computes; transformers' own choice if ``None``.
    :raises ConfigError: a demand contradicts what the user wrote, or another demand, or the stage has no such argument.
    :raises TunesmithError: transformers refuses the combination.
    """
    known = {item.name for item in fields(kind) if item.init}
    given = {RENAMED.get(key, key): value for key, value in plan.owned(OWNER, given=True).items() if key not in OURS}
    values = {**host_choices(plan), **given}
    problems = [_unknown(plan, key) for key in given if key not in known]
    values, clashes = _meet(plan, values, demands)
    if problems or clashes:
        raise ConfigError([*problems, *clashes])
    values["report_to"] = trackers_of_transformers(plan)
    if any(plan.picked("optimizers")):
        values.pop("optim", None)  # it may be a name that only the plugin knows, or one that the library would act on
    try:
        wanted = {key: value for key, value in values.items() if key in known}
        args = make_arguments(kind, wanted, home) if home else kind(**wanted)
    except (ValueError, TypeError) as error:
        raise TunesmithError(f"The training arguments cannot be used together: {error}") from error
    check_arguments(args, plan)
    return args


def host_choices(plan: Plan) -> dict[str, Any]:
    """What the host decides where the user says nothing."""
    choices: dict[str, Any] = {
        "output_dir": plan["output_dir"],
        # Batches hold what the collator made, whatever the model's signature says.
        "remove_unused_columns": False,
        "label_names": ["labels"],
        "activation_checkpointing": not plan["disable_gradient_checkpointing"],
        "activation_checkpointing_kwargs": {"use_reentrant": plan["use_reentrant_gc"]},
        # Searching for unused weights costs time, and with recomputed activations it fails on adapters.
        "ddp_find_unused_parameters": False,
        # Early stopping counts on where it was; without this a resumed run would forget.
        "restore_callback_states_from_checkpoint": True,
    }
    if plan["disable_shuffling"]:
        choices["train_sampling_strategy"] = "sequential"
    return choices


def trackers_of_transformers(plan: Plan) -> list[str]:
    """``report_to`` without the names that plugins answer to."""
    asked = plan["report_to"]
    names = [asked] if isinstance(asked, str) else list(asked or ())
    plugins = {chosen.name for chosen in plan.picked("trackers")}
    return [name for name in names if name not in plugins] or ["none"]


def _meet(plan: Plan, values: dict[str, Any], demands: Iterable[Demand]) -> tuple[dict[str, Any], list[Problem]]:
    values, clashes = dict(values), []
    by: dict[str, str] = {}
    for demand in demands:
        for key, value in demand.values.items():
            key = RENAMED.get(key, key)
            if (key in by or _written(plan, key)) and values[key] != value:
                clashes.append(_clash(plan, key, value, demand.who, by.get(key)))
            values[key], by[key] = value, demand.who
    return values, clashes


def _written(plan: Plan, key: str) -> bool:
    names = [key, *(old for old, new in RENAMED.items() if new == key)]
    written = (plan.settings[name] for name in names if name in plan.settings)
    return any(setting.given and setting.owner == OWNER for setting in written)


def _clash(plan: Plan, key: str, value: Any, who: str, other: str | None) -> Problem:
    if other is not None:
        return Problem("", f"{who} needs {key}: {value}, and {other} needs another", "Switch one of them off.")
    setting = next(s for name, s in plan.settings.items() if RENAMED.get(name, name) == key and s.given)
    return Problem(
        setting.origin, f"{key} is {setting.value}, and {who} needs {value}", f"Leave {key} out, or switch {who} off."
    )


def _unknown(plan: Plan, key: str) -> Problem:
    stage = plan["stage"]
    return Problem(
        plan.settings[key].origin if key in plan.settings else "", f"the stage {stage} has no argument {key}", "Leave it out."
    )
