"""``tunesmith reproduce``."""

from __future__ import annotations

from pathlib import Path

import click

from tunesmith import launch, planning, settings
from tunesmith.cli.plan_text import say_notices
from tunesmith.errors import TunesmithError
from tunesmith.past_runs import PastRun, read_run
from tunesmith.plugins import Plugins
from tunesmith.run_comparison import compare_losses, compare_records

#: What a run that is done again must not take over: where the old one is, and how it went on.
OWN = ("output_dir", "resume_from_checkpoint", "overwrite_output_dir", "allow_drift")


@click.command()
@click.argument("folder", metavar="RUN", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), help="Output folder of the new run. [default: RUN-again]")
@click.option("--tolerance", default=0.0, show_default=True, help="How far two losses of one step may lie apart.")
@click.pass_obj
def reproduce(plugins: Plugins, folder: Path, out: Path | None, tolerance: float) -> int:
    """Do what RUN did once more, by its plan.json, and compare versions, data and every logged loss.

    Exit status 1 when a loss lies further off than the tolerance. Run it from the folder that RUN was started in. Secrets are
    not kept in plan.json: give them in the environment.
    """
    old, again = read_run(folder), out or folder.with_name(f"{folder.resolve().name}-again")
    config = settings.gather(plugins, {**_given(old), "output_dir": str(again)})
    plan = planning.make(config, plugins, "train")
    say_notices(plan)
    status = launch.carry_out(plan, plugins, lambda text: click.echo(text, err=True))
    if status:
        return status
    new = read_run(again)
    for line in compare_records(old, new):
        click.echo(line)
    compared = compare_losses(old, new)
    click.echo(compared.text)
    return int(compared.worst > tolerance or not compared.steps)


def _given(run: PastRun) -> dict[str, object]:
    if not run.settings:
        raise TunesmithError(f"{run.folder} holds no plan.json, so what it did is not known.", "Run it from its configuration.")
    return {key: value for key, value in run.settings.items() if key not in OWN and value != "***"}
