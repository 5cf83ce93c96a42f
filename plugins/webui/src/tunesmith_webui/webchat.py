"""``tunesmith webchat``: plan, load the engine, show the page."""

from __future__ import annotations

import click
from tunesmith import launch, planning
from tunesmith.cli.arguments import RUN_CONTEXT, read_arguments, run_arguments
from tunesmith.cli.plan_text import say_notices
from tunesmith.collecting import importing
from tunesmith.contracts import Engine
from tunesmith.dialogue import sampling_of
from tunesmith.plugins import Plugins
from tunesmith.stacks.rerunning import again_there

from tunesmith_webui.options import WebOptions


@click.command(context_settings=RUN_CONTEXT)
@run_arguments
@click.pass_obj
def webchat(plugins: Plugins, arguments: tuple[str, ...]) -> None:
    """Talk to a model in the browser: tunesmith webchat [RUN.yaml] [--model_name_or_path FOLDER] [--key value …]

    The page is for this machine only unless gradio_server_name says otherwise, which asks for a web_password.
    """
    plan = planning.make(read_arguments(plugins, arguments), plugins, "webchat")
    plan.check_ready()
    if plan.stack is not None:
        again_there(plan.stack)
    say_notices(plan)
    with importing():
        from tunesmith_webui.chat_page import chat_page
        from tunesmith_webui.showing import show, words
    plan = launch.fetch(plan, plugins)
    launch.prepare_environment(plan, plugins)
    engine: Engine = plugins.engines.get(plan.the("engines").wanted).load()(plan)
    try:
        engine.start(plan)
        said = words()
        show(chat_page(engine, sampling_of(plan), said), said, plan.options(WebOptions))
    finally:
        engine.stop()
