"""``tunesmith webui``: the page that sets up, starts and watches runs."""

from __future__ import annotations

import os
from pathlib import Path

import click
from tunesmith import planning
from tunesmith.cli.arguments import RUN_CONTEXT, read_arguments, run_arguments
from tunesmith.cli.plan_text import say_notices
from tunesmith.plugins import Plugins

from tunesmith_webui.options import WebOptions


@click.command(context_settings=RUN_CONTEXT)
@run_arguments
@click.option("--folder", default=".", type=click.Path(path_type=Path, exists=True, file_okay=False), help="Files and runs.")
@click.pass_obj
def webui(plugins: Plugins, arguments: tuple[str, ...], folder: Path) -> None:
    """Set up, start and watch runs in the browser: tunesmith webui [--folder FOLDER] [--key value …]

    The page reads and writes configurations of that folder only. It is for this machine only unless gradio_server_name says
    otherwise, which asks for a web_password. Whoever may see it may run everything that tunesmith can.
    """
    plan = planning.make(read_arguments(plugins, arguments), plugins, "webui")
    plan.check_ready()
    say_notices(plan)
    from tunesmith_webui.run_page import run_page
    from tunesmith_webui.showing import show, words

    os.chdir(folder)  # what the files name is meant from there, here and in every run
    installed = Plugins(without=plan.without, only=plan.only, local=Path.cwd())
    said = words()
    show(run_page(installed, Path.cwd(), said), said, plan.options(WebOptions))
