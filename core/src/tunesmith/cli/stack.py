"""``tunesmith stack``: environments of their own for packages whose requirements clash with everybody else's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from tunesmith.plugins import Plugins
from tunesmith.sizes import size_text
from tunesmith.specs import StackSpec
from tunesmith.stacks import checking, making, place


@click.group()
def stack() -> None:
    """Stacks: locked sets of packages in virtual environments of their own.

    A run that needs one is started in it by itself. They lie in TUNESMITH_STACKS, or in ~/.local/share/tunesmith/stacks.
    """


@stack.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def list_stacks(plugins: Plugins, as_json: bool) -> None:
    """List the stacks that plugins describe, and which of them are made."""
    rows = [_described(offer.spec, plugins) for offer in plugins.stacks]
    if as_json:
        click.echo(json.dumps(rows, indent=1))
        return
    for row in rows:
        click.echo(f"{row['name']}  {row['state']}  {row['summary']}")
    if not rows:
        click.echo("No installed plugin describes a stack.")


def _described(spec: StackSpec, plugins: Plugins) -> dict[str, Any]:
    made = place.made(spec.name)
    faults = list(checking.stale(made, spec, plugins)) if made is not None else []
    state = "not made" if made is None else "out of date" if faults else "made"
    folder = str(place.folder_of(spec.name))
    return {"name": spec.name, "kind": spec.kind, "state": state, "summary": spec.summary, "folder": folder, "faults": faults}


@stack.command()
@click.argument("name")
@click.option("--lock", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Install by this lock.")
@click.pass_obj
def create(plugins: Plugins, name: str, lock: Path | None) -> None:
    """Make the stack NAME, or bring our packages in it up to date."""
    made = making.create(plugins.stacks.get(name).spec, plugins, lock, _say)
    held = f"{len(made.packages)} packages and {len(made.ours)} of ours, {size_text(_size(made.folder))}"
    click.echo(f"The stack {name} is made: Python {made.python}, {held}, in {made.folder}")


@stack.command(short_help="Decide on the versions of a stack anew.")
@click.argument("name")
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), help="Write the lock here instead.")
@click.pass_obj
def lock(plugins: Plugins, name: str, output: Path | None) -> None:
    """Decide on the versions of the stack NAME anew and write them down with their hashes; create installs by them."""
    found = making.relock(plugins.stacks.get(name).spec, plugins, _say)
    file = output or place.lock_file(name)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(found.text(), encoding="utf-8")
    click.echo(f"{len(found.packages)} packages locked in {file}")


@stack.command(short_help="See whether a stack is what it should be.")
@click.argument("name")
@click.pass_obj
def check(plugins: Plugins, name: str) -> int:
    """See whether the stack NAME is what it should be; exits with 1 when it is not."""
    faults = list(checking.faults(plugins.stacks.get(name).spec, plugins))
    for fault in faults:
        click.echo(fault)
    click.echo(f"Make it anew: tunesmith stack create {name}" if faults else f"The stack {name} is as it should be.")
    return int(bool(faults))


@stack.command()
@click.argument("name")
def remove(name: str) -> None:
    """Remove the stack NAME and its lock."""
    click.echo(f"The stack {name} is removed." if making.remove(name) else f"There is no stack {name}.")


def _say(text: str) -> None:
    click.echo(text, err=True)


def _size(folder: Path) -> int:
    return sum(file.lstat().st_size for file in folder.rglob("*") if file.is_file())
