"""What this package offers."""

from __future__ import annotations

from tunesmith import CommandSpec, hookimpl

TUNESMITH_API = (1, 0)

CHAT = CommandSpec(
    name="chat",
    load="tunesmith_chat.command:chat",
    summary="Talk to a model in the terminal, or from a script.",
    section="Run",
    picks=("templates", "backends", "quantizers", "accelerators", "engines"),
    requires=("model_name_or_path",),
)


@hookimpl
def tunesmith_commands() -> list[CommandSpec]:
    """The command ``chat``."""
    return [CHAT]
