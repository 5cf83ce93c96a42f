"""What this package offers."""

from __future__ import annotations

from tunesmith import CommandSpec, hookimpl

TUNESMITH_API = (1, 0)


@hookimpl
def tunesmith_commands() -> list[CommandSpec]:
    """Talking to a model in the terminal, or from a script."""
    return [CommandSpec("chat", "tunesmith_chat.command:chat", "Talk to a model in the terminal.", section="Run")]
