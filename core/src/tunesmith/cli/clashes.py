"""Which packages cannot live together, in plain words and before anything is installed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from importlib import metadata

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tunesmith.errors import TunesmithError
from tunesmith.findings import Finding
from tunesmith.installation import version_of
from tunesmith.plugins import Plugins
from tunesmith.specs import StackSpec
from tunesmith.stacks import checking, place
from tunesmith.stacks.locking import would_install


def stacks(plugins: Plugins) -> Iterator[Finding]:
    """Each stack: why it is one, and whether it is ready."""
    for offer in plugins.stacks:
        spec: StackSpec = offer.spec
        made = place.made(spec.name)
        faults = list(checking.stale(made, spec, plugins)) if made is not None else []
        create = f"tunesmith stack create {spec.name}"
        state = "is not made" if made is None else f"is out of date: {'; '.join(faults)}" if faults else "is ready"
        told = [f"It cannot be installed here: it wants {one}." for one in clashes(spec.pins)]
        mend = [] if made is not None and not faults else [f"Whoever wants it: {create}"]
        yield Finding("warn" if faults else "ok", f"the stack {spec.name} {state}", "\n".join([*told, *mend]))


def clashes(pins: Sequence[str]) -> Iterator[str]:
    """The pins that what is installed does not meet, each with what is."""
    for pin in map(Requirement, pins):
        found = version_of(pin.name)
        if found is not None and not pin.specifier.contains(found, prereleases=True):
            yield f"{pin}, and {found} is installed"


def adding(plugins: Plugins, wanted: Sequence[str]) -> Iterator[Finding]:
    """What ``pip install`` of these would replace here, and who would not like it."""
    if not wanted:
        return
    asked = " ".join(wanted)
    try:
        coming = would_install(wanted)
    except TunesmithError as error:
        yield Finding(
            "fail", f"{asked} cannot be installed here", "\n".join(filter(None, (error.hint, *_own_stacks(plugins, wanted))))
        )
        return
    changed = {name: version for name, version in coming.items() if version_of(name) not in (None, version)}
    for name, version in sorted(changed.items()):
        yield Finding("warn", f"{asked} would bring {name} {version} in place of {version_of(name)}")
    broken = list(breaks(coming))
    for what in broken:
        fix = "\n".join(_own_stacks(plugins, wanted)) or "Install it into an environment of its own."
        yield Finding("fail", what, fix)
    if not broken:
        new = sum(version_of(name) is None for name in coming)
        yield Finding("ok", f"{asked} can be installed: {new} new packages, {len(changed)} others, nothing that is here breaks")


def breaks(coming: Mapping[str, str]) -> Iterator[str]:
    """The installed packages whose requirements the coming versions do not meet."""
    for held in sorted(metadata.distributions(), key=lambda held: held.name or ""):
        if not held.name or canonicalize_name(held.name) in coming:
            continue
        for requirement in map(Requirement, held.requires or ()):
            version = coming.get(str(canonicalize_name(requirement.name)))
            applies = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
            if version and applies and not requirement.specifier.contains(version, prereleases=True):
                yield f"{held.name} {held.version} needs {requirement.name}{requirement.specifier}, and {version} would come"


def _own_stacks(plugins: Plugins, wanted: Sequence[str]) -> Iterator[str]:
    """Stacks that hold one of these packages."""
    names = {str(canonicalize_name(Requirement(one).name)) for one in wanted}
    for offer in plugins.stacks:
        held = {
            str(canonicalize_name(Requirement(one).name))
            for one in (*offer.spec.requirements, *offer.spec.without_dependencies)
        }
        if held & names:
            yield f"It has a stack of its own: tunesmith stack create {offer.spec.name}"
