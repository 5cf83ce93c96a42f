"""``tunesmith train``: the rooms of a run by name."""

from __future__ import annotations

import os

import click

from tunesmith import launch, planning
from tunesmith.cli.arguments import RUN_CONTEXT, read_arguments, run_arguments
from tunesmith.cli.plan_text import say_notices
from tunesmith.plugins import Plugins
from tunesmith.stacks.rerunning import Request, start_there


@click.command(context_settings=RUN_CONTEXT)
@run_arguments
@click.option("--strict", is_flag=True, help="A key that this run does not use is an error.")
@click.option("--quiet", is_flag=True, help="Say nothing but errors.")
@click.pass_obj
def train(plugins: Plugins, arguments: tuple[str, ...], strict: bool, quiet: bool) -> int:
    """Fine-tune a model: tunesmith train RUN.yaml [key=value …] [--key value …]

    With several devices it starts a process for each. Processes that another launcher has started meet here as well.
    """
    meeting = launch.meeting_place()
    if meeting and os.environ["LOCAL_RANK"] != "0":
        return launch.join(meeting)
    with launch.hosting(meeting):
        config = read_arguments(plugins, arguments)
        plan = planning.make(config, plugins, "train", strict=strict)
        if plan.stack is not None:
            plan.check_ready()
            start_there(plan.stack, Request.of(plan, config, quiet=quiet, strict=strict))
        if quiet:
            return launch.carry_out(plan.with_setting("verbosity", "error", "--quiet"), plugins, meeting=meeting)
        say_notices(plan)
        return launch.carry_out(plan, plugins, lambda text: click.echo(text, err=True), meeting)
