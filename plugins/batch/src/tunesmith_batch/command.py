"""``tunesmith batch``."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from itertools import chain
from pathlib import Path
from typing import Any

import click
from tunesmith import launch, planning
from tunesmith.cli.arguments import RUN_CONTEXT, read_arguments, run_arguments
from tunesmith.cli.plan_text import say_notices
from tunesmith.contracts import Engine
from tunesmith.dialogue import sampling_of
from tunesmith.errors import TunesmithError
from tunesmith.further_adapters import further_adapters
from tunesmith.plan import Plan
from tunesmith.plugins import Plugins
from tunesmith.stacks.rerunning import again_there

from tunesmith_batch.answers import Asker, answer_all
from tunesmith_batch.questions import Line, lines_of
from tunesmith_batch.resuming import left_over


@click.command(context_settings=RUN_CONTEXT)
@click.argument("questions", type=click.Path(path_type=Path))
@click.argument("answers", type=click.Path(path_type=Path))
@run_arguments
@click.option("--at-once", default=32, show_default=True, type=click.IntRange(min=1), help="Lines that are asked at once.")
@click.option("--quiet", is_flag=True, help="Say nothing but errors.")
@click.pass_obj
def batch(plugins: Plugins, arguments: tuple[str, ...], questions: Path, answers: Path, at_once: int, quiet: bool) -> None:
    """Answer a file of prompts: tunesmith batch IN.jsonl OUT.jsonl [RUN.yaml] [key=value …]

    Each line of IN.jsonl is {"prompt": "…"} or {"messages": […]}; the same line of OUT.jsonl is its answer, or what was
    wrong with it. A run that was stopped goes on where it was when it is started again.
    """
    plan = planning.make(read_arguments(plugins, arguments), plugins, "batch")
    plan.check_ready()
    if plan.stack is not None:
        again_there(plan.stack)
    if not quiet:
        say_notices(plan)
    if questions.resolve() == answers.resolve():
        raise TunesmithError(f"{answers} is the file of the prompts.", "Give another file for the answers.")
    counts = answer_file(plan, plugins, questions, answers, at_once)
    if not quiet:
        told = f"{counts['answered']:,} lines answered" if counts else "Nothing left to answer"
        wrong = f", {counts['wrong']:,} with errors" if counts["wrong"] else ""
        click.echo(f"{told}{wrong}; the answers are in {answers}")


def answer_file(plan: Plan, plugins: Plugins, questions: Path, answers: Path, at_once: int) -> Counter[str]:
    """Write the answers that ``answers`` still lacks; nothing is loaded when it lacks none.

    :return: how many lines were ``answered``, and how many of them were ``wrong``.
    :raises TunesmithError: a file cannot be read or written, or the answers that are there are to other questions.
    """
    lines = left_over(lines_of(questions, settings_of(plan)), questions, answers)
    first = next(lines, None)
    counts: Counter[str] = Counter()
    if first is None:
        return counts
    launch.prepare_environment(plan, plugins)
    plan = launch.fetch(plan, plugins)
    engine: Engine = plugins.engines.get(plan.the("engines").wanted).load()(plan)
    engine.start(plan)
    try:
        for answer in write_all(answers, Asker(engine, sampling_of(plan)), chain([first], lines), at_once):
            counts["answered"] += 1
            counts["wrong"] += "error" in answer
    finally:
        engine.stop()
    return counts


def write_all(file: Path, asker: Asker, lines: Iterator[Line], at_once: int) -> Iterator[dict[str, Any]]:
    """Append each answer to ``file`` as soon as those before it are there, and pass it on."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        out = file.open("a", encoding="utf-8")
    except OSError as error:
        raise TunesmithError(f"{file} cannot be written: {error.strerror}.", "Give another file for the answers.") from error
    with out, closing(answer_all(asker, lines, at_once)) as told:  # type: ignore[type-var]
        for answer in told:
            out.write(json.dumps(answer, ensure_ascii=False) + "\n")
            out.flush()
            yield answer


def settings_of(plan: Plan) -> str:
    """What answers depend on besides their questions: model, adapters, template, engine and sampling."""
    wish, sampling = plan.models["policy"], sampling_of(plan)
    chosen = [(one.axis, one.name) for one in plan.chosen if one.axis in ("templates", "engines", "quantizers")]
    return json.dumps([str(wish.path), wish.adapters, wish.bits, dict(further_adapters(plan)), chosen, repr(sampling)])
