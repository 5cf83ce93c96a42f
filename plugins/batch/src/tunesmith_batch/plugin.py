"""What this package offers."""

from __future__ import annotations

from tunesmith import CommandSpec, hookimpl

TUNESMITH_API = (1, 0)

BATCH = CommandSpec(
    name="batch",
    load="tunesmith_batch.command:batch",
    summary="Answer a file of prompts: resumable, in order, errors per line.",
    section="Run",
    picks=("templates", "backends", "quantizers", "accelerators", "engines"),
    requires=("model_name_or_path",),
)


@hookimpl
def tunesmith_commands() -> list[CommandSpec]:
    """The command ``batch``."""
    return [BATCH]
