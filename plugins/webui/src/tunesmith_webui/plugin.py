"""What this package offers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from tunesmith import CommandSpec, Problem, hookimpl

if TYPE_CHECKING:
    from tunesmith.plan import Plan

TUNESMITH_API = (1, 0)

WEBCHAT = CommandSpec(
    name="webchat",
    load="tunesmith_webui.webchat:webchat",
    summary="Talk to a model in the browser.",
    options="tunesmith_webui.options:WebOptions",
    section="Run",
    picks=("templates", "backends", "quantizers", "accelerators", "engines"),
    requires=("model_name_or_path",),
)
WEBUI = CommandSpec(
    name="webui",
    load="tunesmith_webui.webui:webui",
    summary="Set up, start and watch runs in the browser.",
    options="tunesmith_webui.options:WebOptions",
    section="Run",
)


@hookimpl
def tunesmith_commands() -> list[CommandSpec]:
    """The commands ``webchat`` and ``webui``."""
    return [WEBCHAT, WEBUI]


@hookimpl
def tunesmith_check_plan(plan: Plan) -> Iterable[Problem]:
    """Whom the page lets in."""
    if plan.command not in (WEBCHAT.name, WEBUI.name):
        return ()
    from tunesmith_webui.checks import problems

    return list(problems(plan))
