"""Which specs a run uses: by selector key, by switch, or by what is here."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from importlib import import_module, resources
from pathlib import Path
from typing import Any

from tunesmith.contracts import Probe
from tunesmith.errors import TunesmithError, nearest
from tunesmith.installation import how_to_install
from tunesmith.known_keys import library_optimizers
from tunesmith.model_names import templates_for
from tunesmith.planning.attention import choose_attention
from tunesmith.planning.draft import Draft
from tunesmith.planning.spreading import choose_spread
from tunesmith.planning.stacks import choose_stack, server_of
from tunesmith.registry import Offer, Owner
from tunesmith.specs import AXES, BackendSpec, Switch, TemplateSpec

NAMES = {axis.hook: axis for axis in AXES}
MODEL_KEYS = ("model_name_or_path", "adapter_name_or_path")


def choose(draft: Draft) -> None:
    """Decide for a spec on every axis that the command picks from."""
    for axis in draft.command.picks:
        CHOOSERS.get(axis, _by_selector)(draft, axis)
    choose_attention(draft, planned()["flash_attn"])
    _places(draft)
    choose_stack(draft)
    for axis, offer in draft.offers:
        check_packages(draft, axis, offer)
    if draft.devices > 1 and "launchers" not in draft.command.picks and server_of(draft) is None:
        draft.notices.append(f"one process uses one of the {draft.devices} devices here")


@cache
def planned() -> Mapping[str, Mapping[str, str]]:
    """Names that users of this kind of tool know and that a package still to come will bring."""
    plain: dict[str, dict[str, str]] = json.loads(resources.files("tunesmith").joinpath("planned.json").read_text("utf-8"))
    return plain


def _by_selector(draft: Draft, axis: str) -> None:
    key = NAMES[axis].selector
    choose_named(draft, axis, key, str(draft.value(key)))


def choose_named(draft: Draft, axis: str, key: str, name: str) -> None:
    """Pick ``name`` on ``axis`` because ``key`` says so; a known name that is not installed is missing, not wrong."""
    registry = draft.plugins.axis(axis)
    bare = name.partition("@")[0]
    if bare not in registry and (package := _known(draft, axis, bare)):
        draft.lacks(key, f"the {NAMES[axis].word} {name!r} is not installed", whence(draft, package))
        return
    try:
        draft.pick(axis, registry.get(name), draft.origin(key))
    except TunesmithError as error:
        draft.note_error(key, error)


def whence(draft: Draft, package: str) -> str:
    """Where what is not installed would come from."""
    off = [owner.plugin for owner in draft.plugins.off if owner.distribution == package]
    if off:
        return f"It comes with {package}, whose plugin {off[0]} is switched off."
    here = package in {owner.distribution for owner in draft.plugins.owners.values()}
    return f"The installed {package} does not have it yet." if here else f"It comes with {package}."


def _known(draft: Draft, axis: str, name: str) -> str:
    """The distribution that brings ``name``, were it installed; empty when nobody knows the name or the plugin is broken."""
    package: str = draft.plugins.catalogue.names(axis).get(name) or planned().get(axis, {}).get(name, "")
    broken = {broken.owner.distribution for broken in draft.plugins.broken.values()}
    return "" if package in broken else package


# ---- switches --------------------------------------------------------------------------------------------------------


def _by_switch(draft: Draft, axis: str) -> None:
    for offer in draft.plugins.axis(axis):
        if offer.spec.switch and _is_on(draft, offer.spec.switch):
            draft.pick(axis, offer, draft.origin(offer.spec.switch.key))


def _is_on(draft: Draft, switch: Switch) -> bool:
    return bool(draft.value(switch.key) == switch.value)


def _optimizer(draft: Draft, axis: str) -> None:
    _by_switch(draft, axis)
    picked = draft.picked(axis)
    if len(picked) > 1:
        names = " and ".join(f"{spec.switch.key}" for spec in picked)
        draft.problem(picked[-1].switch.key, f"{names} each choose an optimizer", "Keep one of them.")
    for spec in picked:
        if spec.switch.key != "optim" and draft.given("optim"):
            what = f"{spec.switch.key} and optim: {draft.value('optim')} each choose an optimizer"
            draft.problem("optim", what, "Keep one of them.")
    if not picked:
        _library_optimizer(draft)


def _library_optimizer(draft: Draft) -> None:
    """One of transformers' own: whether it is here."""
    name = str(draft.value("optim"))
    known = library_optimizers().get(name)
    if package := _known(draft, "optimizers", name):
        draft.lacks("optim", f"the optimizer {name!r} is not installed", whence(draft, package))
    elif known and known.refused:
        draft.problem("optim", f"optim: {name} {known.refused}", known.instead)
    elif known and known.needs and importlib.util.find_spec(known.needs) is None:
        what = f"optim: {name} needs the package {known.needs}, which is not installed"
        draft.lacks("optim", what, f"pip install {known.install}")
    if known and not str(draft.value("lr_scheduler_type")).startswith(known.schedule):
        what = f"optim: {name} makes up for a schedule, and lr_scheduler_type is {draft.value('lr_scheduler_type')}"
        draft.problem("optim", what, f"Write lr_scheduler_type: {known.schedule}")


def _accelerators(draft: Draft, axis: str) -> None:
    trains = "trainers" in draft.command.picks
    for offer in draft.plugins.axis(axis):
        if offer.spec.switch and (trains or offer.spec.answers) and _is_on(draft, offer.spec.switch):
            draft.pick(axis, offer, draft.origin(offer.spec.switch.key))
    picked = {spec.name: spec for spec in draft.picked(axis)}
    for spec in picked.values():
        for other in set(spec.excludes) & set(picked):
            draft.problem(spec.switch.key, f"{spec.name} cannot work beside {other}", "Switch one of them off.")
    draft.offers.sort(key=lambda item: getattr(item[1].spec, "order", 0) if item[0] == axis else 0)


def _places(draft: Draft) -> None:
    """Sources that are switched on, or that a model's name asks for by its scheme."""
    _by_switch(draft, "sources")
    switched = [spec.switch.key for spec in draft.picked("sources")]
    if len(switched) > 1:
        what = f"{' and '.join(switched)} each say where models come from"
        draft.problem(switched[-1], what, "Keep one of them.")
    for key in MODEL_KEYS:
        given = draft.value(key) or ()
        for name in (given,) if isinstance(given, str) else given:
            scheme, mark, _ = str(name).partition("://")
            for offer in draft.plugins.sources if mark else ():
                if scheme in offer.spec.schemes:
                    draft.pick("sources", offer, draft.origin(key))


def _nothing_yet(draft: Draft, axis: str) -> None:
    """A quantizer is picked when the models are known: what lies there may decide."""


# ---- several by name -------------------------------------------------------------------------------------------------


def _listed(draft: Draft, axis: str) -> None:
    key = NAMES[axis].listed
    for name in _names(draft.value(key)):
        choose_named(draft, axis, key, name)


def _trackers(draft: Draft, axis: str) -> None:
    """Those that plugins bring; every other name in ``report_to`` is transformers' affair."""
    asked = _names(draft.value(NAMES[axis].listed))
    _by_switch(draft, axis)
    for offer in draft.plugins.axis(axis):
        if offer.spec.name in asked and offer.spec not in draft.picked(axis):
            draft.pick(axis, offer, draft.origin(NAMES[axis].listed))


def _names(value: Any) -> Sequence[str]:
    return [value] if isinstance(value, str) else [str(name) for name in value or ()]


# ---- template --------------------------------------------------------------------------------------------------------


def _template(draft: Draft, axis: str) -> None:
    wants = {kind for spec in draft.picked("trainers") for kind in spec.wants}
    if wants == {"document"}:
        return
    name = draft.value("template")
    if name in (None, "auto"):
        return
    if str(name).partition(":")[0].endswith(".toml"):
        _template_file(draft, axis, str(name))
    else:
        choose_named(draft, axis, "template", str(name))
        if not draft.picked(axis) and (fitting := templates_for(str(draft.value("model_name_or_path")), draft.plugins)):
            draft.notices.append(f"the model's own template is {' or '.join(fitting)}")


def _template_file(draft: Draft, axis: str, name: str) -> None:
    file = find_template_file(name.partition(":")[0], draft.config.file)
    if file is None:
        draft.problem("template", f"there is no template file {name}", "It is looked for beside the configuration, then here.")
        return
    table = name.partition(":")[2]
    draft.pick(
        axis,
        Offer(TemplateSpec(name, str(file), table), Owner("file", str(file), "unversioned")),
        draft.origin("template"),
    )


def find_template_file(name: str, config: Path | None) -> Path | None:
    """A template file named in a configuration: beside the configuration, else in the working folder."""
    folders = [config.parent] if config else []
    return next((path for folder in [*folders, Path()] if (path := folder / name).is_file()), None)


# ---- backend ---------------------------------------------------------------------------------------------------------


def probe_backend(offer: Offer[BackendSpec]) -> Probe:
    """Ask a backend, without torch, whether its device is here."""
    module, _, function = offer.spec.probe.partition(":")
    probe: Probe = getattr(import_module(module), function)()
    return probe


def _backend(draft: Draft, axis: str) -> None:
    wanted = draft.value("backend")
    if wanted != "auto":
        if wanted not in draft.plugins.backends and wanted not in draft.plugins.catalogue.names(axis):
            names = draft.plugins.backends.names
            near = nearest(wanted, names, cutoff=0.7)  # below, gpu would be taken for a brand of them
            hint = near or f"backend: auto picks one that is here. Installed: {', '.join(names)}."
            draft.problem("backend", f"There is no backend {wanted!r}.", hint)
            return
        choose_named(draft, axis, "backend", str(wanted))
        for a, offer in draft.offers:
            if a != axis:
                continue
            probe = probe_backend(offer)
            draft.devices = max(1, probe.devices)
            if not probe.here:
                draft.lacks(
                    "backend", f"the backend {offer.spec.name} is not here: {probe.reason}", "backend: auto picks one that is."
                )
        return
    _detect(draft, axis)


def _detect(draft: Draft, axis: str) -> None:
    reasons: list[str] = []
    for offer in sorted(draft.plugins.backends, key=lambda offer: -offer.spec.priority):
        probe = probe_backend(offer)
        if probe.here:
            why = "detected" + (f" ({'; '.join(reasons)})" if reasons else "")
            draft.pick(axis, offer, why)
            draft.devices = max(1, probe.devices)
            return
        reasons.append(f"no {offer.spec.name}: {probe.reason}")
    packages = sorted(set(draft.plugins.catalogue.names(axis).values()))
    install = f"pip install {' or '.join(packages)}" if packages else "Install a backend package."
    draft.lacks("backend", "; ".join(reasons) or "no backend is installed", install)


# ---- what the picked need --------------------------------------------------------------------------------------------


def check_packages(draft: Draft, axis: str, offer: Offer[Any], key: str = "", further: Iterable[str] = ()) -> None:
    """Note the packages that a picked thing needs and that are not installed.

    A run that goes into a stack finds them there, and is asked about them once more when it is planned there.

    :param key: what asked for it.
    :param further: packages that it needs for what it is to do here.
    """
    spec = offer.spec
    if draft.stack is not None:
        return
    for package in (*getattr(spec, "needs", ()), *further):
        if importlib.util.find_spec(package) is None:
            why = f"the {NAMES[axis].word} {spec.name!r} needs the package {package}, which is not installed"
            key = key or NAMES[axis].selector or (spec.switch.key if getattr(spec, "switch", None) else "")
            draft.lacks(key, why, how_to_install([package], offer.owner.distribution))


CHOOSERS: Mapping[str, Callable[[Draft, str], None]] = {
    "templates": _template,
    "backends": _backend,
    "strategies": choose_spread,
    "launchers": choose_spread,
    "quantizers": _nothing_yet,
    "accelerators": _accelerators,
    "optimizers": _optimizer,
    "rewards": _listed,
    "tools": _listed,
    "trackers": _trackers,
    "callbacks": _listed,
    "metrics": _listed,
}
