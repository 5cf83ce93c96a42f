"""``tunesmith migrate``: from a command line of LLaMA-Factory to one of Tunesmith."""

from __future__ import annotations

import os
from collections.abc import Mapping

import click
from tunesmith import planning
from tunesmith.cli.arguments import read_arguments
from tunesmith.cli.plan_text import say_notices
from tunesmith.plan import Plan
from tunesmith.plugins import Plugins

from tunesmith_compat.command_line import CommandLine, read_line
from tunesmith_compat.subcommands import find


@click.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.argument("line", nargs=-1, required=True, type=click.UNPROCESSED)
@click.pass_obj
def migrate(plugins: Plugins, line: tuple[str, ...]) -> None:
    """Print how a LINE that starts LLaMA-Factory is written here, and check the run that it asks for.

    \b
    tunesmith migrate llamafactory-cli train run.yaml lora_rank=16
    tunesmith migrate "API_PORT=8000 llamafactory-cli api run.yaml"

    Old names of keys are noted; keys that cannot be honoured are errors, all of them at once. Nothing is run.
    """
    read = read_line(line)
    click.echo(read.here())
    plan = plan_of(read, plugins, os.environ)
    if plan is not None:
        say_notices(plan)
        for problem in plan.missing:
            click.echo(f"not here: {problem}", err=True)


def plan_of(line: CommandLine, plugins: Plugins, environ: Mapping[str, str]) -> Plan | None:
    """The plan of what a line asks for; nothing where its command has none.

    :raises TunesmithError: its command is unknown or not installed, or its keys are wrong.
    """
    found = find(line.command, plugins)
    if not found.reads_keys:
        return None
    config = read_arguments(plugins, line.words, {**environ, **line.variables})
    return planning.make(config, plugins, line.command)
