"""Which store a model's name asks for: a folder, a source that the name or a switch picks, or else the Hugging Face Hub."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tunesmith.contracts import ModelStore
from tunesmith.errors import TunesmithError
from tunesmith.model_folder import HUB_NAME, Whereabouts, fetch_model, find_model
from tunesmith.model_names import suggestion
from tunesmith.plan import ModelPlace, Plan
from tunesmith.plugins import Plugins
from tunesmith.registry import Offer
from tunesmith.specs import SourceSpec

Value = Callable[[str], Any]
HOST = "hub"


class HuggingFaceModels(ModelStore):
    """The host's own store: folders, and the hub that transformers itself loads from."""

    def __init__(self, value: Value) -> None:
        self._value = value

    def find(self, name: str) -> Whereabouts:
        """As :func:`tunesmith.model_folder.find_model`."""
        return find_model(name, revision=self._revision, cache_dir=self._value("cache_dir"))

    def fetch(self, name: str, commit: str = "") -> Whereabouts:
        """As :func:`tunesmith.model_folder.fetch_model`."""
        return fetch_model(
            name, revision=commit or self._revision, cache_dir=self._value("cache_dir"), token=self._value("hf_hub_token")
        )

    @property
    def _revision(self) -> str:
        return str(self._value("model_revision") or "main")


def source_for(name: str, plugins: Plugins, value: Value) -> Offer[SourceSpec] | None:
    """The source that the scheme of a model's name, or else a switch, asks for; ``None`` for the host's own store.

    :raises TunesmithError: nobody offers the scheme.
    """
    scheme, mark, _ = name.partition("://")
    stores = [offer for offer in plugins.sources if offer.spec.models]
    if mark:
        found = next((offer for offer in stores if scheme in offer.spec.schemes), None)
        if found is None:
            raise TunesmithError(f"No installed plugin fetches models from {scheme}://.", "Give a folder or a hub name.")
        return found
    if Path(name).expanduser().exists() or not HUB_NAME.fullmatch(name):
        return None
    return next(
        (offer for offer in stores if offer.spec.switch and value(offer.spec.switch.key) == offer.spec.switch.value), None
    )


def store_for(name: str, plugins: Plugins, value: Value) -> tuple[str, ModelStore]:
    """The store that holds ``name``, and what it is called.

    :raises TunesmithError: nobody offers it.
    """
    offer = source_for(name, plugins, value)
    if offer is None:
        return HOST, HuggingFaceModels(value)
    module, _, attribute = offer.spec.models.partition(":")
    store: ModelStore = getattr(importlib.import_module(module), attribute)(value)
    return offer.spec.name, store


def fetch_place(name: str, plan: Plan, plugins: Plugins) -> ModelPlace:
    """Bring a model or adapter of a plan here, at the commit that the plan says where it does.

    :raises TunesmithError: it cannot be had.
    """
    known = plan.places.get(name)
    if known and Path(known.folder).is_dir():
        return known
    source, store = store_for(name, plugins, lambda key: value_in(plan, key))
    try:
        place = store.fetch(name, known.commit if known else "")
    except TunesmithError as error:
        raise TunesmithError(error.message, f"{suggestion(name, plugins)} {error.hint}".strip()) from error
    return ModelPlace(str(place.found()), source, place.commit)


def value_in(plan: Plan, key: str) -> Any:
    """What a plan says for a key; ``None`` for one that is not its own."""
    return plan.settings[key].value if key in plan.settings else None


def place_in(plan: Plan, name: str) -> Whereabouts:
    """Where a model or adapter of a plan lies, without fetching it."""
    known = plan.places.get(name)
    if known and Path(known.folder).is_dir():
        return Whereabouts(name, Path(known.folder), commit=known.commit)
    return HuggingFaceModels(lambda key: value_in(plan, key)).find(name)
