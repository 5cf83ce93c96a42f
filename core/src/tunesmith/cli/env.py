"""``tunesmith env``: what people paste into bug reports."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from tunesmith.cli.plugins import describe
from tunesmith.installation import LIBRARIES, machine, our_versions, probe, version_of
from tunesmith.plan import is_secret
from tunesmith.plugins import Plugins
from tunesmith.sizes import size_text
from tunesmith.specs import BackendSpec

#: Variables with these beginnings change what a run does.
VARIABLES = ("TUNESMITH_", "HF_", "TRANSFORMERS_", "OMP_NUM_THREADS", "TOKENIZERS_", "WORLD_SIZE", "RANK", "LOCAL_RANK")


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def env(plugins: Plugins, as_json: bool) -> None:
    """Print versions, plugins, backends and the machine, for bug reports. Secrets are masked; nothing heavy is imported."""
    report = gather(plugins)
    click.echo(json.dumps(report, indent=1) if as_json else "\n".join(_lines(report)))


def gather(plugins: Plugins) -> dict[str, Any]:
    """All that a bug report needs, as plain data."""
    return {
        "packages": our_versions(),
        "libraries": {name: version_of(name) for name in LIBRARIES},
        "machine": asdict(machine(Path())),
        "backends": {offer.spec.name: _backend(offer) for offer in plugins.backends},
        "variables": variables(os.environ, {name for offer in plugins.backends for name in _named(offer.spec)}),
        **describe(plugins),
    }


def _named(spec: BackendSpec) -> Iterator[str | None]:
    """Variables that a backend listens to."""
    yield spec.visible_devices
    yield from spec.environment


def _backend(offer: Any) -> dict[str, Any]:
    try:
        found = probe(offer.spec)
    except Exception as error:  # a bug report must say that the probe failed, not fail with it
        return {"here": False, "reason": f"its probe failed: {type(error).__name__}: {error}", "devices": 0, "detail": {}}
    return {**asdict(found), "detail": {key: str(value) for key, value in found.detail.items()}}


def variables(environ: Mapping[str, str], more: set[str | None]) -> dict[str, str]:
    """The environment variables that matter, tokens and keys masked."""
    names = (name for name in environ if name.startswith(VARIABLES) or name in more)
    return {name: "***" if is_secret(name.lower()) else environ[name] for name in sorted(names)}


def _lines(report: dict[str, Any]) -> Iterator[str]:
    here = report["machine"]
    yield from _section("machine", {"system": here["system"], "Python": here["python"], "processor cores": here["cores"]})
    yield from _section("", {"memory": f"{size_text(here['memory'])}, {size_text(here['memory_free'])} free"})
    yield from _section("", {"disk": f"{size_text(here['disk_free'])} free"})
    yield from _section("libraries", {name: version or "not installed" for name, version in report["libraries"].items()})
    yield from _section("packages", report["packages"])
    yield from _section("backends", {name: _probe_text(probe) for name, probe in report["backends"].items()})
    yield from _section(
        "plugins", {plugin["name"]: f"{plugin['distribution']} {plugin['version']}" for plugin in report["plugins"]}
    )
    yield from _section("broken", {plugin["name"]: plugin["reason"] for plugin in report["broken"]})
    yield from _section("switched off", {plugin["name"]: plugin["distribution"] for plugin in report["off"]})
    yield from _section("variables", report["variables"])


def _probe_text(probe: Mapping[str, Any]) -> str:
    if not probe["here"]:
        return f"not here: {probe['reason']}"
    return ", ".join(["here", f"devices {probe['devices']}", *(f"{key} {value}" for key, value in probe["detail"].items())])


def _section(title: str, rows: Mapping[str, Any]) -> Iterator[str]:
    if rows and title:
        yield click.style(title, bold=True)
    for name, value in rows.items():
        yield f"  {name:<24} {value}"
