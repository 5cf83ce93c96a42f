"""``tunesmith schema``: JSON Schema of the configuration, for editors."""

from __future__ import annotations

import json

import click

from tunesmith.json_schema import json_schema
from tunesmith.plugins import Plugins


@click.command()
@click.pass_obj
def schema(plugins: Plugins) -> None:
    """Print the JSON Schema (draft 2020-12) of a configuration, for the plugins that are installed.

    Save it beside your configurations, and begin them with
    "# yaml-language-server: $schema=tunesmith.schema.json".
    """
    click.echo(json.dumps(json_schema(plugins), indent=1, ensure_ascii=False))
