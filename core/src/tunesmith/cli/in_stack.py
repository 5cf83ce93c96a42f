"""``python -m tunesmith.cli.in_stack FILE``: carry out, in the stack whose Python this is, what a process outside asked for."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from tunesmith import launch, planning, settings
from tunesmith.cli.main import guarded
from tunesmith.cli.plan_text import say_notices
from tunesmith.plan import Plan
from tunesmith.plugins import Plugins
from tunesmith.stacks import place
from tunesmith.stacks.rerunning import Request, differences
from tunesmith.yaml_lines import Entry


def carry_out(request: Request) -> int:
    """Plan again with what is installed here, say what is different, and run."""
    before = Plan.from_json(request.plan)
    plugins = Plugins(without=before.without, only=before.only, local=Path(before.local) if before.local else None)
    entries = [Entry(key, value, origin) for key, value, origin in request.settings]
    config = settings.gather_entries(plugins, entries, Path(request.file) if request.file else None)
    plan = planning.make(config, plugins, request.command, strict=request.strict)
    if request.quiet:
        return launch.carry_out(plan, plugins)
    click.echo(f"note: running in the stack {place.current()}", err=True)
    for line in differences(request, plan):
        click.echo(f"note: {line}", err=True)
    say_notices(plan)
    return launch.carry_out(plan, plugins, lambda text: click.echo(text, err=True))


if __name__ == "__main__":
    sys.exit(guarded(lambda: carry_out(Request.take(Path(sys.argv[1])))))
