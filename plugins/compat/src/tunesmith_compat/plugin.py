"""What this package offers besides its console scripts."""

from __future__ import annotations

from tunesmith import CommandSpec, hookimpl

TUNESMITH_API = (1, 0)

MIGRATE = CommandSpec(
    name="migrate",
    load="tunesmith_compat.migrate:migrate",
    summary="Say how a command line of LLaMA-Factory is written here.",
)


@hookimpl
def tunesmith_commands() -> list[CommandSpec]:
    """The command ``migrate``."""
    return [MIGRATE]
