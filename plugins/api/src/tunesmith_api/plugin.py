"""What this package offers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from tunesmith import CommandSpec, Problem, hookimpl

if TYPE_CHECKING:
    from tunesmith.plan import Plan

TUNESMITH_API = (1, 0)

COMMAND = CommandSpec(
    name="api",
    load="tunesmith_api.command:api",
    summary="Serve a model to OpenAI clients.",
    options="tunesmith_api.options:ApiOptions",
    section="Run",
    picks=("templates", "backends", "quantizers", "accelerators", "engines"),
    requires=("model_name_or_path",),
)


@hookimpl
def tunesmith_commands() -> list[CommandSpec]:
    """The command ``api``."""
    return [COMMAND]


@hookimpl
def tunesmith_check_plan(plan: Plan) -> Iterable[Problem]:
    """What would make a server unsafe or useless, found before anything is loaded."""
    if plan.command != COMMAND.name:
        return ()
    from tunesmith_api.checks import problems

    return list(problems(plan))
