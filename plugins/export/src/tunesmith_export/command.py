"""``tunesmith export``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
from tunesmith import launch, planning
from tunesmith.cli.arguments import RUN_CONTEXT, read_arguments, run_arguments
from tunesmith.cli.plan_text import say_notices
from tunesmith.plan import Plan
from tunesmith.plugins import Plugins


@click.command(context_settings=RUN_CONTEXT)
@run_arguments
@click.option("--verify/--no-verify", default=None, help="Compare what the model answers before and after. On by default.")
@click.option("--quiet", is_flag=True, help="Say nothing but errors.")
@click.pass_obj
def export(plugins: Plugins, arguments: tuple[str, ...], verify: bool | None, quiet: bool) -> None:
    """Merge adapters and write a whole model: tunesmith export RUN.yaml export_dir=FOLDER [key=value …]"""
    asked = () if verify is None else (f"export_verify={str(verify).lower()}",)
    plan = planning.make(read_arguments(plugins, (*arguments, *asked)), plugins, "export")
    plan.check_ready()
    if not quiet:
        say_notices(plan)
    report = carry_out(plan, plugins)
    lines = summary(plan["export_dir"], report)
    if plan["export_hub_model_id"]:
        from tunesmith_export.upload import push

        lines.append(f"uploaded to {push(plan, Path(plan['export_dir']).expanduser())}")
    if not quiet:
        click.echo("\n".join(lines))


def carry_out(plan: Plan, plugins: Plugins) -> Mapping[str, Any]:
    """Export as the plan says; the folder appears when everything is in it."""
    launch.prepare_environment(plan, plugins)
    plan = launch.fetch(plan, plugins)
    from tunesmith.runtime.speaking import no_bars, speak

    from tunesmith_export import forms
    from tunesmith_export.staging import staged

    speak(plan)
    with staged(Path(plan["export_dir"]).expanduser()) as folder, no_bars():
        return forms.carry_out(plan, plugins, folder)


def summary(folder: str, report: Mapping[str, Any]) -> list[str]:
    """What was written and what the checks found, in a few lines."""
    size = sum(report["files"].values()) / 1e6
    files = f"{size:,.1f} MB in {len(report['files'])} of {report['format']}"
    lines = [f"{folder}: {report['parameters']:,} parameters in {report['dtype']}, {files}"]
    for merge in report["adapters"]:
        line = f"merged {merge['adapter']} ({merge['tuner']})"
        if merge["weights"] is not None:
            line += f" into {merge['weights']} weights, by {merge['moved']:.2g} of their size"
        if report["verified"]:
            gap, change = merge["gap"], merge["change"]
            line += f": {gap['equal_tokens']:.0%} of greedy tokens equal, logits off by {gap['typical']:.1g}"
            line += f" where the adapter changed them by {change['typical']:.1g}"
        lines.append(line)
    if "quantizer" in report:
        gap = f", logits off by {report['quantized_gap']['typical']:.1g}" if "quantized_gap" in report else ""
        lines.append(f"quantised to {report['bits']} bits by {report['quantizer']}{gap}")
    lines += [f"no {name}: {reason}" for name, reason in report["omitted"].items()]
    lines += [f"merged in memory as a whole: {report['whole']}"] if report["whole"] else []
    return lines if report["verified"] else [*lines, "answers were not compared; --verify does it"]
