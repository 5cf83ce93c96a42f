"""Which launcher starts the processes of a run, how they share its model, and how many they are."""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib import import_module
from typing import Any

from tunesmith.plan import Spread
from tunesmith.planning.draft import Draft
from tunesmith.registry import Offer
from tunesmith.specs import Scene


def choose_spread(draft: Draft, axis: str) -> None:
    """Pick the launcher or strategy of the highest priority that something asks for, else the usual one."""
    scene = scene_of(draft, os.environ)
    asked = [(offer, why) for offer in draft.plugins.axis(axis) if (why := _why(draft, offer, scene))]
    if not asked:
        usual = next(offer for offer in draft.plugins.axis(axis) if not offer.spec.switch and not offer.spec.when)
        asked = [(usual, "default")]
    best = max(offer.spec.priority for offer, _ in asked)
    first, *others = sorted(asked, key=lambda item: -item[0].spec.priority)
    draft.pick(axis, *first)
    for other, why in others:
        if other.spec.priority < best and not other.spec.switch:
            continue  # nobody has asked for it in so many words
        what = f"{first[0].spec.name} ({first[1]}) and {other.spec.name} ({why}) cannot work together"
        draft.problem(other.spec.switch.key if other.spec.switch else "", what, "Keep one of them.")


def scene_of(draft: Draft, environ: Mapping[str, str]) -> Scene:
    """What launchers and strategies are told while planning."""
    together = any(spec.together for spec in draft.picked("strategies"))
    folder = str(draft.config.file.parent) if draft.config.file else "."
    return Scene(draft.value, environ, draft.devices, together, folder)


def count(draft: Draft) -> None:
    """Fill ``draft.spread`` once launcher and strategy are decided for."""
    scene = scene_of(draft, os.environ)
    for launcher in draft.picked("launchers"):
        try:
            processes = int(_call(launcher.processes, scene)) if launcher.processes else 1
        except ValueError:
            draft.problem("nnodes", f"nnodes must be a number, or least:most, not {draft.value('nnodes')}")
            processes = 1
        draft.spread = Spread(processes, draft.devices, _shards(draft, scene))


def _shards(draft: Draft, scene: Scene) -> str:
    for spec in draft.picked("strategies"):
        draft.notices += _call(spec.notices, scene) if spec.notices else []
        return str(_call(spec.shards, scene) if ":" in spec.shards else spec.shards)
    return "nothing"


def _why(draft: Draft, offer: Offer[Any], scene: Scene) -> str:
    spec = offer.spec
    if spec.switch and draft.value(spec.switch.key) == spec.switch.value:
        return draft.origin(spec.switch.key)
    return str(_call(spec.when, scene)) if spec.when else ""


def _call(name: str, scene: Scene) -> Any:
    module, _, function = name.partition(":")
    return getattr(import_module(module), function)(scene)
