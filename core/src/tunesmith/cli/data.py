"""``tunesmith data``: what becomes of a run's data, before a model is loaded."""

from __future__ import annotations

import sys

import click

from tunesmith.cli.arguments import RUN_CONTEXT, read_arguments, run_arguments
from tunesmith.plan import Plan
from tunesmith.plugins import Plugins


@click.group()
def data() -> None:
    """Data: what rows become, what is dropped or cut, what is learned."""


@data.command(context_settings=RUN_CONTEXT)
@run_arguments
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
@click.option("--bad-rows", default=5, show_default=True, help="How many bad rows of each dataset to show.")
@click.pass_obj
def report(plugins: Plugins, arguments: tuple[str, ...], as_json: bool, bad_rows: int) -> int:
    """Prepare the data of RUN.yaml and count what became of it. What is prepared here is found again by train.

    Exit status 2 when there are more bad rows than max_bad_rows allows, so that train would refuse the data.
    """
    from tunesmith.data.flow import prepare
    from tunesmith.data.report import table

    plan = planned(plugins, arguments)
    prepared = prepare(plan, plugins, progress=show_progress if sys.stderr.isatty() else None, lenient=True)
    click.echo(prepared.report.to_json() if as_json else table(prepared.report, bad_rows=bad_rows))
    allowed = plan["max_bad_rows"]
    if all(source.bad_row_count <= allowed for source in prepared.report.sources):
        return 0
    click.secho(f"train refuses this data: max_bad_rows is {allowed}", fg="red", err=True)
    return 2


@data.command(context_settings=RUN_CONTEXT, short_help="Print rows as the model reads them.")
@run_arguments
@click.pass_obj
def preview(plugins: Plugins, arguments: tuple[str, ...]) -> None:
    """Print the first rows of each dataset of RUN.yaml as the model reads them, what is learned in green.

    A bare number among the words says how many rows: tunesmith data preview run.yaml 3
    """
    from tunesmith.cli.template import coloured
    from tunesmith.data.preview import preview as rows

    counts = [int(word) for word in arguments if word.isdecimal()]
    plan = planned(plugins, tuple(word for word in arguments if not word.isdecimal()))
    for row in rows(plan, plugins, counts[-1] if counts else 3):
        name = f" ({row.sequence})" if row.sequence not in ("tokens", "") else ""
        counted = f"  {row.tokens} tokens, {row.learned} learned" if not row.bad else ""
        click.secho(f"── {row.dataset}{name}  {row.place}{counted}", bold=True)
        if row.bad:
            click.secho(f"bad row: {row.bad}", fg="red")
        else:
            click.echo("".join(coloured(row.rendered, sys.stdout.isatty())))


def planned(plugins: Plugins, arguments: tuple[str, ...]) -> Plan:
    """The plan of the command line, with everything that preparing data needs at hand."""
    from tunesmith import launch, planning

    plan = planning.make(read_arguments(plugins, arguments), plugins, "data")
    plan.check_ready()
    return launch.fetch(plan, plugins)


def show_progress(dataset: str, rows: int) -> None:
    """One line on a terminal, written over."""
    click.echo(f"\r\033[K{dataset}: {rows:,} rows", nl=False, err=True)
