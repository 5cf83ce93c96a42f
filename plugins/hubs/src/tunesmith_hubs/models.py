"""Models and adapters of hubs and object stores that are not the host's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tunesmith.contracts import ModelStore, Whereabouts
from tunesmith.model_folder import is_offline

from tunesmith_hubs import places
from tunesmith_hubs.repository import Hub, Name, Repository

#: Weights for other frameworks, beside those that are read.
FOREIGN = (".h5", ".msgpack", ".onnx", ".ot", ".tflite", ".mlmodel")


class HubModels(ModelStore):
    """Models of one hub."""

    def __init__(self, hub: Hub, value: places.Value, token_key: str) -> None:
        self._hub, self._value, self._token_key = hub, value, token_key

    def find(self, name: str) -> Whereabouts:
        """By what is remembered of an earlier download."""
        repository = self._repository(name)
        known = repository.remembered()
        if known is None:
            return self._absent(name, "not")
        pinned = self._repository(name, known.version)
        if [path for path in pinned.lacks() if not _is_foreign(path)]:
            return self._absent(name, "only in part")
        return Whereabouts(name, self._folder(pinned), commit=known.version)

    def _absent(self, name: str, how: str) -> Whereabouts:
        if is_offline():
            reason = f"{name} is {how} in the cache, and hubs are switched off"
            return Whereabouts(name, None, reason=reason, hint="Run once with the hub, or unset HF_HUB_OFFLINE.")
        return Whereabouts(name, None, fetchable=True, reason=f"{name} is {how} on this machine yet")

    def fetch(self, name: str, commit: str = "") -> Whereabouts:
        """Every file but weights for other frameworks."""
        repository = self._repository(name, commit)
        for path in repository.listing.files:
            if not _is_foreign(path):
                repository.file(path)
        return Whereabouts(name, self._folder(repository), commit=repository.version)

    def _folder(self, repository: Repository) -> Path:
        return self._hub.place(repository.name, repository.version, "config.json").parent

    def _repository(self, name: str, version: str = "") -> Repository:
        revision = str(self._value("model_revision") or "main")
        if revision == "main":  # what the host's key says when nobody wrote it
            revision = self._hub.branch
        return Repository(self._hub, Name(name, "model", revision, self._token_key), places.memory_folder(self._value), version)


def _is_foreign(path: str) -> bool:
    return path.endswith(FOREIGN) or path.startswith(".")


def modelscope_models(value: Any) -> HubModels:
    """Models of ModelScope."""
    return HubModels(places.modelscope(value), value, "ms_hub_token")


def modelers_models(value: Any) -> HubModels:
    """Models of Modelers."""
    return HubModels(places.modelers(value), value, "om_hub_token")


def object_store_models(value: Any) -> HubModels:
    """Folders of object stores."""
    return HubModels(places.object_store(value), value, "")
