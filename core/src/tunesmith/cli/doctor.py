"""``tunesmith doctor``: what is wrong with this installation, and what to do about it."""

from __future__ import annotations

import json
import os
import traceback
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path

import click

from tunesmith.cli.clashes import adding, stacks
from tunesmith.findings import Finding, Level
from tunesmith.installation import (
    LIBRARIES,
    existing,
    how_to_install,
    machine,
    our_versions,
    preflight,
    probe,
    tested_versions,
    unmet_requirements,
    version_of,
)
from tunesmith.keys import KeyTable
from tunesmith.plugins import Plugins
from tunesmith.sizes import size_text
from tunesmith.specs import BackendSpec

COLOURS: dict[Level, str] = {"ok": "green", "warn": "yellow", "fail": "red"}
LITTLE_DISK = 5 * 1024**3


@dataclass(frozen=True)
class Wish:
    """What the user asks about beyond the installation itself."""

    backend: str | None
    output: Path
    adding: tuple[str, ...] = ()


@click.command()
@click.option("--backend", metavar="NAME", help="Look closely at this backend, and fail unless it is here.")
@click.option(
    "--output", type=click.Path(path_type=Path), default=Path("saves"), show_default=True, help="Where runs will write."
)
@click.option("--adding", multiple=True, metavar="PACKAGE", help="Say what pip install PACKAGE would change, before it does.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def doctor(plugins: Plugins, backend: str | None, output: Path, adding: tuple[str, ...], as_json: bool) -> int:
    """Check plugins, versions, packages, backends and disk; each line that is not ok says what mends it.

    Exits with 1 when something fails.
    """
    wish = Wish(backend, output, adding)
    findings = [finding for check in CHECKS for finding in check(plugins, wish)]
    if as_json:
        click.echo(json.dumps([asdict(finding) for finding in findings], indent=1))
    else:
        click.echo("\n".join(line for finding in findings for line in _lines(finding)))
    return int(any(finding.level == "fail" for finding in findings))


def _lines(finding: Finding) -> Iterator[str]:
    yield f"{click.style(finding.level.ljust(4), fg=COLOURS[finding.level])}  {finding.what}"
    yield from (f"      {line}" for line in finding.fix.splitlines())


# ---- plugins ---------------------------------------------------------------------------------------------------------


def broken_plugins(plugins: Plugins, _: Wish) -> Iterator[Finding]:
    """Plugins that are installed and cannot be used, with the whole reason."""
    for _axis, _offer in plugins.offers():
        pass  # a plugin may break only when it is asked what it offers
    for broken in plugins.broken.values():
        why = "".join(traceback.format_exception(broken.error)).strip()
        fix = f"pip install --force-reinstall {broken.owner.distribution}, or switch it off: --without {broken.owner.plugin}"
        yield Finding("fail", f"plugin {broken.owner} cannot be used", f"{fix}\n{why}")
    if not plugins.broken:
        yield Finding("ok", f"{len(plugins.owners)} plugins, none broken")
    for owner in plugins.off:
        yield Finding("warn", f"plugin {owner} is switched off", "See --without, --only and TUNESMITH_WITHOUT.")


def clashing_names(plugins: Plugins, _: Wish) -> Iterator[Finding]:
    """Names that several plugins offer."""
    for axis in dict.fromkeys(axis for axis, _offer in plugins.offers()):
        for name, owners in plugins.axis(axis.hook).clashes.items():
            ways = " or ".join(f"{name}@{owner}" for owner in owners)
            yield Finding(
                "warn", f"{' and '.join(owners)} both offer the {axis.word} {name!r}", f"A run that uses it must say {ways}."
            )


def clashing_keys(plugins: Plugins, _: Wish) -> Iterator[Finding]:
    """Configuration keys that several plugins declare, each in a way of its own."""
    keys = KeyTable.of(plugins)
    for error in filter(None, map(keys.clash, keys.clashes)):
        yield Finding("warn", error.message, error.hint)


def missing_packages(plugins: Plugins, _: Wish) -> Iterator[Finding]:
    """Packages that something on offer says it needs and that are not installed."""
    for axis, offer in plugins.offers():
        if lacking := [package for package in offer.spec.needs if find_spec(package) is None]:
            fix = how_to_install(lacking, offer.owner.distribution)
            if offer.spec.stack:
                fix = f"It belongs into a stack: tunesmith stack create {offer.spec.stack}"
            yield Finding("warn", f"the {axis.word} {offer.spec.name!r} needs {', '.join(lacking)}", fix)


# ---- versions --------------------------------------------------------------------------------------------------------


def requirements(_: Plugins, __: Wish) -> Iterator[Finding]:
    """What our packages require and do not find."""
    ours = our_versions()
    unmet = list(unmet_requirements(ours))
    for one in unmet:
        yield Finding("fail", str(one), f"pip install '{one.requirement}'")
    if not unmet:
        yield Finding("ok", f"{len(ours)} packages of Tunesmith, everything they require is installed")


def runtime(_: Plugins, __: Wish) -> Iterator[Finding]:
    """The libraries that training needs, beside a core that can plan without them."""
    if lacking := [name for name in ("torch", "transformers", "accelerate", "safetensors") if find_spec(name) is None]:
        fix = "pip install 'tunesmith-core[runtime]'"
        yield Finding("warn", f"plans can be made but not carried out: {', '.join(lacking)} not installed", fix)


def untested_versions(_: Plugins, __: Wish) -> Iterator[Finding]:
    """Libraries in another version than the one that was tested."""
    tested = tested_versions()
    installed = {name: version_of(name) for name in LIBRARIES if name in tested}
    other = {name: found for name, found in installed.items() if found and found.partition("+")[0] != tested[name]}
    for name, found in other.items():
        fix = f"If something is odd, try the tested one: pip install {name}=={tested[name]}"
        yield Finding("warn", f"{name} {found} is not the version that was tested with this release, {tested[name]}", fix)
    if not other:
        yield Finding("ok", "libraries are in the tested versions")


# ---- the machine -----------------------------------------------------------------------------------------------------


def backends(plugins: Plugins, wish: Wish) -> Iterator[Finding]:
    """Whether there is a device, and the one asked for."""
    here = False
    for offer in plugins.backends:
        finding = _probed(offer.spec, wanted=offer.spec.name == wish.backend)
        here = here or finding.what.endswith("is here")
        yield finding
        if offer.spec.name == wish.backend and offer.spec.preflight:
            yield from preflight(offer.spec)
    others = [offer for offer in plugins.accelerators if offer.spec.name == wish.backend and offer.spec.preflight]
    for one in others:
        yield from preflight(one.spec)
    if wish.backend and wish.backend not in plugins.backends and not others:
        package = plugins.catalogue.names("backends").get(wish.backend)
        fix = f"pip install {package}" if package else f"Installed: {', '.join(plugins.backends.names) or 'none'}."
        yield Finding("fail", f"there is no backend {wish.backend!r}", fix)
    elif not here:
        yield Finding("fail", "no backend is here, so nothing can run", "Install a backend package, or mend one of the above.")


def _probed(spec: BackendSpec, *, wanted: bool) -> Finding:
    try:
        found = probe(spec)
    except Exception as error:  # whatever a probe raises is what the user came here to learn
        return Finding(
            "fail", f"the probe of backend {spec.name} failed: {type(error).__name__}: {error}", "Reinstall its package."
        )
    if found.here:
        return Finding("ok", f"backend {spec.name} is here")
    return Finding("fail" if wanted else "ok", f"backend {spec.name} is not here: {found.reason}")


def output(_: Plugins, wish: Wish) -> Iterator[Finding]:
    """Whether runs can write where they will, and have room."""
    folder = existing(wish.output)
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        yield Finding("fail", f"{folder} cannot be written to", "Name another folder in output_dir, or mend its permissions.")
        return
    free = machine(folder).disk_free
    if free < LITTLE_DISK:
        fix = "A checkpoint holds the weights and twice as much for the optimizer. Free some space, or set save_total_limit."
        yield Finding("warn", f"only {size_text(free)} free where {wish.output} will be", fix)
    else:
        yield Finding("ok", f"{wish.output} can be written, {size_text(free)} free")


CHECKS: tuple[Callable[[Plugins, Wish], Iterator[Finding]], ...] = (
    broken_plugins,
    clashing_names,
    clashing_keys,
    missing_packages,
    requirements,
    runtime,
    untested_versions,
    backends,
    output,
    lambda plugins, _: stacks(plugins),
    lambda plugins, wish: adding(plugins, wish.adding),
)
