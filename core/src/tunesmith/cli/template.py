"""``tunesmith template``: list, render, show, check and start templates."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import click

from tunesmith.errors import TunesmithError
from tunesmith.plugins import Plugins

if TYPE_CHECKING:
    from tunesmith.data.conversation import Rendered
    from tunesmith.templates.auto import AutoRenderer
    from tunesmith.templates.render import DeclaredRenderer


@click.group()
def template() -> None:
    """Templates: how a conversation becomes a model's text."""


@template.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
@click.option("--model", help="Only those of this model: a hub's name, or a folder called like one.")
@click.pass_obj
def list_templates(plugins: Plugins, as_json: bool, model: str | None) -> None:
    """List the templates that are installed."""
    rows = [(offer.spec, offer.owner) for offer in plugins.templates]
    if model is not None:
        from tunesmith.model_names import suggestion, templates_for

        fitting = templates_for(model, plugins)
        rows = [(spec, owner) for spec, owner in rows if spec.name in fitting]
        if not rows:
            raise TunesmithError(f"No installed template is known to be that of {model}.", suggestion(model, plugins))
    if as_json:
        told = [
            {"name": spec.name, "summary": spec.summary, "models": list(spec.models), "plugin": owner.plugin, "file": spec.file}
            for spec, owner in rows
        ]
        click.echo(json.dumps(told, indent=1, ensure_ascii=False))
        return
    width = max((len(spec.name) for spec, _ in rows), default=0)
    for spec, owner in rows:
        click.echo(f"{spec.name:<{width}}  {spec.summary}  ({owner.plugin})")
    if not rows:
        click.echo("No plugin that brings templates is installed.")


@template.command(short_help="Render conversations, one to a line.")
@click.argument("name")
@click.argument("file", type=click.File(encoding="utf-8"))
@click.option(
    "--model", type=click.Path(path_type=Path), help="The folder of a tokenizer: its end tokens, and auto's template."
)
@click.option("--tool-format", help="A tool syntax instead of the template's own.")
@click.pass_obj
def render(plugins: Plugins, name: str, file: TextIO, model: Path | None, tool_format: str | None) -> None:
    """Render the conversations of FILE (- for standard input), one JSON object a line, by the template NAME or NAME.toml.

    A line is {"messages": […], "tools": […], "generation_prompt": false, "enable_thinking": null, "date": "2024-07-26"};
    only messages is needed. The answer is {"text", "learned", "stop"}, or {"error"}, on a line of its own.
    """
    from tunesmith.templates.lines import answer

    renderer = renderer_named(plugins, name, model, tool_format)
    for line in file:
        if line.strip():
            click.echo(json.dumps(answer(renderer, line), ensure_ascii=False))


def renderer_named(
    plugins: Plugins, name: str, model: Path | None = None, tool_format: str | None = None
) -> DeclaredRenderer | AutoRenderer:
    """The renderer that a command line names.

    :raises TunesmithError: no such template, or ``auto`` without a model folder.
    """
    from tunesmith.templates.finding import AUTO, declared, spec_for
    from tunesmith.templates.tokenizer_facts import tokenizer_facts

    facts = None if model is None else tokenizer_facts(_folder(model))
    if name == AUTO:
        from tunesmith.templates.auto import AutoRenderer

        if facts is None:
            raise TunesmithError("The template auto is a tokenizer's own.", "Say whose: --model FOLDER")
        return AutoRenderer(facts, {})
    return declared(spec_for(name, plugins), plugins, tool_format=tool_format, options=facts.ends() if facts else {})


def _folder(path: Path) -> Path:
    if not path.is_dir():
        raise TunesmithError(f"There is no folder {path}.", "Name the folder of a downloaded model.")
    return path


@template.command(short_help="Compare one with the chat template that a model brings.")
@click.argument("name")
@click.option("--against", required=True, type=click.Path(path_type=Path), help="The folder of the model's tokenizer.")
@click.option(
    "--file", type=click.File(encoding="utf-8"), help="Conversations to compare on, one a line, beside the usual ones."
)
@click.pass_obj
def check(plugins: Plugins, name: str, against: Path, file: TextIO | None) -> None:
    """Compare the template NAME with the chat template that a model brings, to the character.

    Exit status 1 when they differ in a way that the template's table does not say.
    """
    from tunesmith.templates.compare import compare
    from tunesmith.templates.render import DeclaredRenderer
    from tunesmith.templates.samples import SAMPLES

    declared, own = renderer_named(plugins, name, against), renderer_named(plugins, "auto", against)
    if not isinstance(declared, DeclaredRenderer):
        raise TunesmithError("auto is the tokenizer's own template; there is nothing to compare it with.")
    samples = {**SAMPLES, **(_samples(file) if file else {})}
    found = compare(declared, own, samples)  # type: ignore[arg-type]
    for difference in found.differences:
        click.echo(str(difference))
    for known in declared.template.differs:
        click.secho(f"known: {known}", fg="yellow")
    click.echo(f"{len(found.alike)} alike, {len(found.differences)} different, {len(found.neither)} refused by both")
    if found.differences and not declared.template.differs:
        raise click.exceptions.Exit(1)


def _samples(file: TextIO) -> dict[str, dict[str, object]]:
    return {f"{file.name}:{at}": json.loads(line) for at, line in enumerate(file, start=1) if line.strip()}


@template.command(short_help="Print a row of a run as the model reads it.")
@click.argument("config", type=click.Path(path_type=Path))
@click.argument("row", type=click.IntRange(min=1), default=1)
@click.pass_obj
def show(plugins: Plugins, config: Path, row: int) -> None:
    """Print row ROW (counted from 1) of the data of the run CONFIG as the model gets to read it, what is learned in green."""
    from tunesmith.cli.data import planned
    from tunesmith.data.preview import preview_row

    plan = planned(plugins, (str(config),))
    for shown in preview_row(plan, plugins, row):
        name = f" ({shown.sequence})" if shown.sequence not in ("tokens", "") else ""
        click.secho(f"{shown.place}{name}", dim=True)
        if shown.bad:
            raise TunesmithError(f"{shown.place}: {shown.bad}")
        click.echo("".join(coloured(shown.rendered, sys.stdout.isatty())))
    for notice in plan.notices:
        click.secho(f"note: {notice}", fg="yellow")


def coloured(rendered: Rendered, terminal: bool) -> Iterator[str]:
    """The text with what is learned in green, or between ⟦ ⟧ where there are no colours."""
    for learned, pieces in groupby(rendered.pieces, lambda piece: piece.weight > 0):
        text = "".join(piece.text for piece in pieces)
        if learned:
            yield click.style(text, fg="green") if terminal else f"⟦{text}⟧"
        else:
            yield text


@template.command()
@click.argument("name")
@click.option("--out", type=click.Path(path_type=Path), help="The file to write.  [default: NAME.toml]")
@click.option("--extends", help="A template of the same file or folder to start from.")
def new(name: str, out: Path | None, extends: str | None) -> None:
    """Start a template NAME: a TOML file with every part explained."""
    from tunesmith.templates.starting import skeleton

    path = out or Path(f"{name}.toml")
    if path.exists():
        raise TunesmithError(f"{path} is already there.", "Name another file with --out.")
    path.write_text(skeleton(name, extends), encoding="utf-8")
    click.echo(f"{path} written. Try it: tunesmith template render {path} conversations.jsonl")
