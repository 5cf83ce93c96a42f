"""``tunesmith chat``: find out how it was called, load the engine, hand over to the terminal or to the script mode."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from tunesmith import launch, planning
from tunesmith.cli.arguments import RUN_CONTEXT, read_arguments, run_arguments
from tunesmith.cli.plan_text import say_notices
from tunesmith.contracts import Engine
from tunesmith.dialogue import Dialogue, sampling_of
from tunesmith.errors import TunesmithError
from tunesmith.plan import Plan
from tunesmith.plugins import Plugins
from tunesmith.stacks.rerunning import again_there

from tunesmith_chat.files import check_seen, read_image
from tunesmith_chat.script import answer_lines, answer_prompts
from tunesmith_chat.terminal import Terminal


@dataclass(frozen=True)
class Asked:
    """What the command line asks, and how to answer. ``images`` are shown with the first turn."""

    prompts: tuple[str, ...]
    images: tuple[Path, ...]
    as_json: bool

    @property
    def by_a_person(self) -> bool:
        """Whether somebody sits at a terminal."""
        return not self.prompts and not self.as_json and sys.stdin.isatty() and sys.stdout.isatty()


@click.command(context_settings=RUN_CONTEXT)
@run_arguments
@click.option("--prompt", "prompts", multiple=True, help="Ask this and print the answer. Repeated: the next turns.")
@click.option(
    "--image",
    "images",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Show this image with the first turn, to a model that sees. May be repeated.",
)
@click.option("--system", default="", help="The system prompt.")
@click.option("--tools", type=click.Path(path_type=Path), help="A JSON file with a list of OpenAI tool objects.")
@click.option("--json", "as_json", is_flag=True, help="With --prompt or piped input: print one JSON object per answer.")
@click.pass_obj
def chat(plugins: Plugins, arguments: tuple[str, ...], system: str, tools: Path | None, **how: Any) -> None:
    """Talk to a model: tunesmith chat [RUN.yaml] [--model_name_or_path FOLDER] [--key value …]

    In a terminal this starts a conversation; /help lists what it understands. With --prompt, or when input is piped in
    (each line is a turn, /clear starts anew), nothing but the answers is printed.
    """
    asked = Asked(**how)
    plan = planning.make(read_arguments(plugins, arguments), plugins, "chat")
    plan.check_ready()
    if plan.stack is not None:
        again_there(plan.stack)
    if asked.by_a_person:
        say_notices(plan)
    known_tools = read_tools(tools) if tools else ()
    images = [read_image(file) for file in asked.images]
    plan = launch.fetch(plan, plugins)
    engine = start(plan, plugins)
    try:
        dialogue = Dialogue(engine, sampling_of(plan), system, known_tools)
        for image in images:
            check_seen(engine.renderer, image)
        if asked.by_a_person:
            Terminal(dialogue, plan, images).run()
        elif asked.prompts:
            answer_prompts(dialogue, asked.prompts, asked.as_json, images)
        else:
            answer_lines(dialogue, sys.stdin, asked.as_json, images)
    finally:
        engine.stop()


def start(plan: Plan, plugins: Plugins) -> Engine:
    """The engine of the plan, ready to answer."""
    launch.prepare_environment(plan, plugins)
    engine: Engine = plugins.engines.get(plan.the("engines").wanted).load()(plan)
    engine.start(plan)
    return engine


def read_tools(file: Path) -> tuple[Mapping[str, Any], ...]:
    """The tools in a file.

    :raises TunesmithError: it is not there, or does not hold a JSON list of tool objects.
    """
    try:
        tools = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise TunesmithError(
            f"{file} cannot be read as JSON: {error}.", "--tools wants a list of OpenAI tool objects."
        ) from error
    if not isinstance(tools, list) or not all(isinstance(tool, dict) and "function" in tool for tool in tools):
        raise TunesmithError(
            f"{file} holds no list of tools.", 'Write [{"type": "function", "function": {"name": …, "parameters": {…}}}]'
        )
    return tuple(tools)
