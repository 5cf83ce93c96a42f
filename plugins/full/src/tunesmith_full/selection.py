"""Which weights ``freeze`` lets learn, worked out from the names of the weights alone. No torch."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass

from tunesmith import TunesmithError
from tunesmith.errors import nearest

from tunesmith_full.options import FreezeOptions

ALL = "all"


@dataclass(frozen=True)
class Place:
    """Where a weight sits: inside layer ``layer`` under the dotted ``path``, or outside all layers (``None``)."""

    layer: int | None
    path: str

    @property
    def modules(self) -> tuple[str, ...]:
        """The names of the modules around the weight, outermost first, without the weight's own name."""
        return tuple(self.path.split(".")[:-1])


def choose(names: Iterable[str], layers: str, options: FreezeOptions) -> frozenset[str]:
    """The names of the weights that learn.

    :param names: the names of all weights of the model.
    :param layers: the dotted name of the list of layers (``"model.layers"``).
    :raises TunesmithError: a module is not found, or the model has fewer layers than should learn.
    """
    places = {name: _place(name, layers) for name in names}
    if options.freeze_trainable_weights != "all":
        return _of_kind(places, options.freeze_trainable_weights)
    inside = {name: place for name, place in places.items() if place.layer is not None}
    outside = {name: place for name, place in places.items() if place.layer is None}
    numbers = {place.layer for place in inside.values() if place.layer is not None}
    pick = _added if options.use_llama_pro else _layers
    chosen = pick(options.freeze_trainable_layers, numbers)
    wanted = tuple(module for module in options.freeze_trainable_modules if module != ALL)
    everything = ALL in options.freeze_trainable_modules
    _check(wanted, inside.values(), "freeze_trainable_modules", "inside the layers")
    extra = options.freeze_extra_modules or ()
    _check(extra, outside.values(), "freeze_extra_modules", "outside the layers")
    learns = {name for name, place in inside.items() if place.layer in chosen and (everything or _within(place, wanted))}
    return frozenset(learns | {name for name, place in outside.items() if _within(place, extra)})


def find_layers(names: Iterable[str]) -> str:
    """The dotted name of the longest numbered list of modules, which is the list of layers; empty where there is none."""
    numbers: dict[str, set[str]] = {}
    for name in names:
        if found := re.match(r"(.+?)\.(\d+)\.", name):
            numbers.setdefault(found[1], set()).add(found[2])
    return max(numbers, key=lambda prefix: len(numbers[prefix]), default="")


def _place(name: str, layers: str) -> Place:
    prefix = f"{layers}."
    if layers and name.startswith(prefix):
        number, _, path = name.removeprefix(prefix).partition(".")
        return Place(int(number), path)
    return Place(None, name)


def _layers(wanted: int, existing: Collection[int]) -> frozenset[int]:
    if abs(wanted) > len(existing):
        raise TunesmithError(
            f"freeze_trainable_layers is {wanted}, and the model has {len(existing)} layers.",
            f"Write a number from {-len(existing)} to {len(existing)}.",
        )
    ordered = sorted(existing)
    return frozenset(ordered[:-wanted] if wanted < 0 else ordered[len(ordered) - wanted :])


def _added(wanted: int, existing: Collection[int]) -> frozenset[int]:
    """The last of each of ``wanted`` equal groups: where block expansion puts its copies."""
    ordered = sorted(existing)
    if wanted < 1 or len(ordered) % wanted:
        whole = ", ".join(str(number) for number in range(1, len(ordered) + 1) if len(ordered) % number == 0)
        raise TunesmithError(
            f"use_llama_pro: {len(ordered)} layers cannot be split into {wanted} equal groups (freeze_trainable_layers).",
            f"Write the number of blocks that the expansion added, one of {whole}.",
        )
    group = len(ordered) // wanted
    return frozenset(ordered[group - 1 :: group])


def _of_kind(places: Mapping[str, Place], kind: str) -> frozenset[str]:
    """All weights of normalisation layers, or all biases."""
    found = frozenset(name for name, place in places.items() if (_is_norm(place) if kind == "norms" else _is_bias(place)))
    if not found:
        raise TunesmithError(f"freeze_trainable_weights: this model has no {kind}.", "Choose layers or modules instead.")
    return found


def _is_norm(place: Place) -> bool:
    last = place.modules[-1] if place.modules else ""
    return "norm" in last.lower() or re.fullmatch(r"ln(_?\w+)?", last) is not None


def _is_bias(place: Place) -> bool:
    return place.path.endswith("bias")


def _within(place: Place, modules: Iterable[str]) -> bool:
    return any(module in _names(place) for module in modules)


def _names(place: Place) -> Iterator[str]:
    """Every name by which a user may mean a module around the weight: ``mlp``, ``mlp.up_proj`` and ``up_proj``."""
    path = place.modules
    for start in range(len(path)):
        for end in range(start + 1, len(path) + 1):
            yield ".".join(path[start:end])


def _check(wanted: Iterable[str], places: Iterable[Place], key: str, where: str) -> None:
    known = _modules(places)
    for module in wanted:
        if module not in known:
            listed = ", ".join(name for name in known if "." not in name) or "none"
            hint = f"{nearest(module, known)} There are: {listed}.".strip()
            raise TunesmithError(f"{key} names {module!r}, and the model has no such module {where}.", hint)


def _modules(places: Iterable[Place]) -> Mapping[str, None]:
    """The modules of these places in the order of the model, each once."""
    return dict.fromkeys(name for place in places for name in _names(place))
