"""``tunesmith version``."""

from __future__ import annotations

import platform

import click

from tunesmith import __version__


@click.command()
def version() -> None:
    """Print the version of Tunesmith and Python."""
    click.echo(f"tunesmith {__version__} (Python {platform.python_version()})")
