"""``tunesmith plan``."""

from __future__ import annotations

import click

from tunesmith import planning
from tunesmith.cli.arguments import RUN_CONTEXT, read_arguments, run_arguments
from tunesmith.cli.plan_text import plan_text
from tunesmith.plugins import Plugins


@click.command(context_settings=RUN_CONTEXT)
@run_arguments
@click.option("--for", "command", default="train", show_default=True, help="The command to plan.")
@click.option("--all", "everything", is_flag=True, help="Show the values that are defaults, too.")
@click.option("--strict", is_flag=True, help="A key that this run does not use is an error.")
@click.option("--json", "as_json", is_flag=True, help="Print the plan as JSON.")
@click.pass_obj
def plan(plugins: Plugins, arguments: tuple[str, ...], command: str, everything: bool, strict: bool, as_json: bool) -> None:
    """Show everything a run would do, without doing it: tunesmith plan RUN.yaml [key=value …]"""
    made = planning.make(read_arguments(plugins, arguments), plugins, command, strict=strict)
    click.echo(made.to_json() if as_json else plan_text(made, everything=everything))
