"""What this package offers: the command ``eval`` and its evaluator of multiple-choice questions."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from tunesmith import CommandSpec, EvaluatorSpec, Problem, hookimpl

if TYPE_CHECKING:
    from tunesmith.plan import Plan

TUNESMITH_API = (1, 0)

EVAL = CommandSpec(
    name="eval",
    load="tunesmith_evaluate.command:evaluate",
    summary="Ask a model the questions of a benchmark, and count the right answers.",
    options="tunesmith_evaluate.options:EvaluateOptions",
    section="Run",
    picks=("templates", "backends", "quantizers", "accelerators", "engines"),
    requires=("model_name_or_path", "task"),
)
MULTIPLE_CHOICE = EvaluatorSpec(
    name="multiple_choice",
    load="tunesmith_evaluate.multiple_choice:MultipleChoice",
    summary="Questions with lettered answers, in the files of mmlu, ceval, cmmlu or your own.",
)


@hookimpl
def tunesmith_commands() -> list[CommandSpec]:
    """The command ``eval``."""
    return [EVAL]


@hookimpl
def tunesmith_evaluators() -> list[EvaluatorSpec]:
    """The evaluator that takes every task which none is named after."""
    return [MULTIPLE_CHOICE]


@hookimpl
def tunesmith_check_plan(plan: Plan) -> Iterator[Problem]:
    """A task that names no split, and a folder for results that holds some."""
    if plan.command != EVAL.name or not plan["task"]:
        return
    from tunesmith_evaluate.options import parse

    try:
        parse(plan["task"])
    except ValueError as error:
        hint = "Write the name of a folder in task_dir, and test, validation or train: mmlu_test."
        yield Problem(plan.settings["task"].origin, str(error), hint)
    if plan["save_dir"] and Path(plan["save_dir"]).is_dir() and any(Path(plan["save_dir"]).iterdir()):
        origin = plan.settings["save_dir"].origin
        yield Problem(origin, f"save_dir: {plan['save_dir']} holds something already", "Name another folder.")
