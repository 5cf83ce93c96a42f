"""``tunesmith plugins``: what is installed, broken and switched off."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import click

from tunesmith.plugins import Broken, Plugins
from tunesmith.registry import Owner
from tunesmith.specs import AXES


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def plugins(plugins: Plugins, as_json: bool) -> None:
    """List every plugin with its distribution, version and what it offers; say what is broken or switched off, and why."""
    report = describe(plugins)
    click.echo(json.dumps(report, indent=1) if as_json else "\n".join(_lines(report)))


def describe(plugins: Plugins) -> dict[str, Any]:
    """All that is known about the plugins, as plain data."""
    offers = offers_by_plugin(plugins)
    return {
        "plugins": [{**_owner(owner), "offers": offers.get(name, {})} for name, owner in plugins.owners.items()],
        "broken": [{**_owner(broken.owner), "reason": reason(broken)} for broken in plugins.broken.values()],
        "off": [_owner(owner) for owner in plugins.off],
        "clashes": {
            axis.hook: {name: list(owners) for name, owners in clashes.items()}
            for axis in AXES
            if (clashes := plugins.axis(axis.hook).clashes)
        },
    }


def offers_by_plugin(plugins: Plugins) -> dict[str, dict[str, list[str]]]:
    """Plugin → axis → names."""
    found: dict[str, dict[str, list[str]]] = {}
    for axis, offer in plugins.offers():
        found.setdefault(offer.owner.plugin, {}).setdefault(axis.hook, []).append(offer.spec.name)
    return found


def reason(broken: Broken) -> str:
    """Why a plugin cannot be used, on one line."""
    said = str(broken.error).strip().partition("\n")[0]
    return f"{type(broken.error).__name__}: {said}" if said else type(broken.error).__name__


def _owner(owner: Owner) -> dict[str, str]:
    return {"name": owner.plugin, "distribution": owner.distribution, "version": owner.version}


def _lines(report: dict[str, Any]) -> Iterator[str]:
    for plugin in report["plugins"]:
        yield click.style(plugin["name"], bold=True) + f"  {plugin['distribution']} {plugin['version']}"
        for axis, names in plugin["offers"].items():
            yield from click.wrap_text(" ".join(names), 100, f"  {axis.replace('_', ' '):<15}", " " * 17).splitlines()
    for plugin in report["broken"]:
        title = click.style(f"{plugin['name']}  broken", fg="red", bold=True)
        yield f"{title}  {plugin['distribution']} {plugin['version']}: {plugin['reason']}"
    for plugin in report["off"]:
        yield f"{click.style(plugin['name'] + '  switched off', bold=True)}  {plugin['distribution']} {plugin['version']}"
    for axis, clashes in report["clashes"].items():
        for name, owners in clashes.items():
            title = click.style("clash", fg="yellow")
            yield f"{title}  {axis}: {name} is offered by {' and '.join(owners)}; pick one as {name}@{owners[0]}"
