"""Whether the run belongs into a stack, and whether that stack is ready for it."""

from __future__ import annotations

from typing import Any

from tunesmith.planning.draft import Draft
from tunesmith.registry import Offer
from tunesmith.specs import EngineSpec, StackSpec
from tunesmith.stacks import place


def choose_stack(draft: Draft) -> None:
    """Fill ``draft.stack`` and ``draft.server_stack``. Two different ones are a problem, one that is not ready is missing."""
    wanted: dict[str, Offer[Any]] = {}
    elsewhere = {engine: stack for spec in draft.picked("backends") for engine, stack in spec.engine_stacks.items()}
    for axis, offer in draft.offers:
        name = elsewhere.get(offer.spec.name) if axis == "engines" else None
        if name or offer.spec.stack:
            wanted.setdefault(name or offer.spec.stack, offer)
    for name, offer in wanted.items():
        if name != place.current():
            _choose(draft, name, offer.spec)


def require_stack(draft: Draft, key: str, name: str) -> None:
    """Note what keeps the stack ``name`` from being used by a run that stays outside of it."""
    spec = next((one.spec for one in draft.plugins.stacks if one.spec.name == name), None)
    if spec is not None:
        _check_ready(draft, key, spec)
    elif name:
        draft.lacks(key, f"the stack {name} is needed, which no plugin describes", "Install its package.")


def server_of(draft: Draft) -> EngineSpec | None:
    """The engine of the run, where it is a server: it loads models by itself, on as many devices as it is told."""
    servers = {offer.spec.name for offer in draft.plugins.stacks if offer.spec.kind == "server"}
    return next((spec for spec in draft.picked("engines") if spec.stack in servers), None)


def _choose(draft: Draft, name: str, wanting: Any) -> None:
    switch = getattr(wanting, "switch", None)
    key = switch.key if switch else wanting.name
    spec = next((one.spec for one in draft.plugins.stacks if one.spec.name == name), None)
    if spec is None:
        draft.lacks(key, f"{wanting.name} runs in the stack {name}, which no plugin describes", "Install its package.")
        return
    if spec.kind == "run":
        _enter(draft, key, name)
    else:
        draft.server_stack = name
    _check_ready(draft, key, spec)


def _enter(draft: Draft, key: str, name: str) -> None:
    if draft.stack is not None:
        draft.problem(key, f"the run would have to be in the stacks {draft.stack} and {name} at once", "Keep one of them.")
    elif (inside := place.current()) is not None:
        draft.problem(key, f"the run is in the stack {inside} already and belongs into {name}", "Start it from outside.")
    draft.stack = name


def _check_ready(draft: Draft, key: str, spec: StackSpec) -> None:
    stack = place.made(spec.name)
    create = f"tunesmith stack create {spec.name}"
    if stack is None:
        draft.lacks(key, f"the stack {spec.name} has not been made", create)
        return
    from tunesmith.stacks.checking import stale  # reads how stacks are made, which most runs have none of

    for what in stale(stack, spec, draft.plugins):
        draft.lacks(key, what, create)
