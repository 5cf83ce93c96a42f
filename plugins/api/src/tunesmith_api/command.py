"""``tunesmith api``: plan, take the port, load the engine, serve."""

from __future__ import annotations

import logging
import socket

import click
from tunesmith import launch, planning
from tunesmith.cli.arguments import RUN_CONTEXT, read_arguments, run_arguments
from tunesmith.cli.plan_text import say_notices
from tunesmith.collecting import importing
from tunesmith.contracts import Engine
from tunesmith.plan import Plan
from tunesmith.plugins import Plugins
from tunesmith.stacks.rerunning import again_there

from tunesmith_api.listening import bind, serve
from tunesmith_api.options import ApiOptions


@click.command(context_settings=RUN_CONTEXT)
@run_arguments
@click.pass_obj
def api(plugins: Plugins, arguments: tuple[str, ...]) -> None:
    """Serve a model to OpenAI clients: tunesmith api [RUN.yaml] [--model_name_or_path FOLDER] [--port 8000] [--key value …]

    Listens on this machine only unless api_host says otherwise, which asks for an api_key. SIGTERM and Ctrl-C finish what runs
    and refuse what is new.
    """
    plan = planning.make(read_arguments(plugins, arguments), plugins, "api")
    plan.check_ready()
    if plan.stack is not None:
        again_there(plan.stack)
    say_notices(plan)
    options = plan.options(ApiOptions)
    listener = bind(options.api_host, options.api_port)
    try:
        plan = launch.fetch(plan, plugins)
        launch.prepare_environment(plan, plugins)
        engine: Engine = plugins.engines.get(plan.the("engines").wanted).load()(plan)
        try:
            engine.start(plan)
            answer(plan, engine, listener)
        finally:
            engine.stop()
    finally:
        listener.close()


def answer(plan: Plan, engine: Engine, listener: socket.socket) -> None:
    """Serve an engine that runs until a signal comes."""
    with importing():
        from tunesmith_api.app import make_app
        from tunesmith_api.service import make_service

    service = make_service(plan, engine)
    log_to_stderr()
    host, port = listener.getsockname()[:2]
    where = f"http://{f'[{host}]' if ':' in host else host}:{port}{service.options.fastapi_root_path}"

    def ready() -> None:
        click.echo(f"{', '.join(service.names)} at {where}/v1 (endpoints: {where}/docs)")

    try:
        serve(make_app(service), listener, service.options, ready)
    finally:
        service.desk.close()


def log_to_stderr() -> None:
    """Show this package's log and that of the server."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    log = logging.getLogger("tunesmith_api")
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    log.propagate = False
