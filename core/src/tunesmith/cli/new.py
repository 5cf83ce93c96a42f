"""``tunesmith new``."""

from __future__ import annotations

from pathlib import Path

import click

from tunesmith.plugins import Plugins
from tunesmith.scaffold import KINDS, Names, start_package


@click.command(epilog=f"Kinds: {', '.join(KINDS)}.")
@click.argument("kind")
@click.argument("name")
@click.option("--out", type=click.Path(path_type=Path), help="The folder to write; by default tunesmith-NAME.")
@click.pass_obj
def new(plugins: Plugins, kind: str, name: str, out: Path | None) -> None:
    """Start a plugin package of KIND called NAME, with tests that it passes as it stands."""
    folder = out or Path(Names(name).distribution)
    for file in start_package(kind, name, folder, plugins):
        click.echo(file)
    click.echo(f"\nNow: cd {folder} && pip install -e '.[test]' && pytest")
