"""Where a model lies: a folder on this machine, a download in the hub's cache, or a name that has yet to be fetched."""

from __future__ import annotations

import json
import os
import re
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from tunesmith.errors import TunesmithError, nearest
from tunesmith.specs import AdapterMark

HUB_NAME = re.compile(r"\w[\w.-]*/\w[\w.-]*")
COMMIT = re.compile(r"[0-9a-f]{40}")
#: What an adapter's folder says about changes that its model needs before the adapter fits.
BASE_CHANGES = "base_changes.json"
WEIGHT_FILES = ("*.safetensors", "pytorch_model*.bin", "*.gguf")
ANY_MODEL = "Give a folder, or a hub name such as organisation/model."
ONLINE = "Unset HF_HUB_OFFLINE, so that it can be fetched, or give a folder."


@dataclass(frozen=True)
class Whereabouts:
    """What is known of a model's place. ``folder`` is ``None`` while it is not on this machine; ``commit`` is empty for
    folders that no hub filled."""

    name: str
    folder: Path | None
    fetchable: bool = False
    reason: str = ""
    hint: str = ""
    commit: str = ""

    def found(self) -> Path:
        """The folder.

        :raises TunesmithError: it is not on this machine.
        """
        if self.folder is None:
            raise TunesmithError(f"{self.name}: {self.reason}.", self.hint)
        return self.folder


class ModelStore(Protocol):
    """A source's models and adapters. Made as ``store(value)``: ``value(key)`` is what the run says for a flat key
    (``model_revision``, ``cache_dir``, the source's own), ``None`` where it says nothing."""

    @abstractmethod
    def find(self, name: str) -> Whereabouts:
        """Where the model lies on this machine, and at which commit; never touches the network."""

    @abstractmethod
    def fetch(self, name: str, commit: str = "") -> Whereabouts:
        """Bring the model here, whole, and say where it lies.

        :param commit: the one that the run is to use, where it has been found out before.

        :raises TunesmithError: it cannot be had; the message says why in plain words.
        """


def find_model(name: str, *, revision: str = "main", cache_dir: str | None = None) -> Whereabouts:
    """Look for a model without touching the network."""
    path = Path(name).expanduser()
    if path.is_dir():
        return Whereabouts(name, path)
    if path.exists():
        return Whereabouts(name, None, reason=f"{name} is a file", hint=f"Give its folder: {path.parent}")
    if HUB_NAME.fullmatch(name):
        return _find_in_cache(name, revision, cache_dir)
    return Whereabouts(name, None, reason=f"there is no folder {name}", hint=_nearest_folder(path))


def _find_in_cache(name: str, revision: str, cache_dir: str | None) -> Whereabouts:
    cache = Path(cache_dir) if cache_dir else _hub_cache()
    repository = cache / ("models--" + name.replace("/", "--"))
    ref = repository / "refs" / revision
    commit = ref.read_text(encoding="utf-8").strip() if ref.is_file() else revision
    snapshot = repository / "snapshots" / commit
    known = any((snapshot / file).is_file() for file in ("config.json", "adapter_config.json"))
    if known and not _is_partial(repository, snapshot):
        return Whereabouts(name, snapshot, commit=commit)
    if is_offline():
        at = "" if revision == "main" else f" at {revision}"
        how = "only in part" if known else "not"
        reason = f"{name}{at} is no folder and {how} in the hub's cache {cache}, and the hub is switched off"
        return Whereabouts(name, None, reason=reason, hint=_nearest_folder(Path(name), ONLINE))
    return Whereabouts(name, None, fetchable=True, reason=f"{name} is {'only in part' if known else 'not'} on this machine yet")


def _is_partial(repository: Path, snapshot: Path) -> bool:
    """Whether a download was interrupted: weights that the index names are not there, or were begun and not ended."""
    begun = next((repository / "blobs").glob("*.incomplete"), None) is not None
    return bool(missing_shards(snapshot)) or (begun and not has_weights(snapshot))


def _hub_cache() -> Path:
    home = Path(os.environ.get("HF_HOME") or Path("~/.cache/huggingface").expanduser())
    return Path(os.environ.get("HF_HUB_CACHE") or home / "hub")


def is_offline() -> bool:
    """Whether the user has switched hubs off."""
    names = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
    return any(os.environ.get(name, "").lower() in {"1", "true", "yes", "on"} for name in names)


def _nearest_folder(path: Path, otherwise: str = ANY_MODEL) -> str:
    parent = path.parent
    near = nearest(path.name, (entry.name for entry in parent.iterdir() if entry.is_dir())) if parent.is_dir() else ""
    return near or otherwise


def fetch_model(name: str, *, revision: str = "main", cache_dir: str | None = None, token: str | None = None) -> Whereabouts:
    """Where a model lies, downloaded from the Hugging Face Hub when it is not on this machine.

    :raises TunesmithError: it is neither here nor to be had.
    """
    place = find_model(name, revision=revision, cache_dir=cache_dir)
    if place.folder is not None or not place.fetchable:
        place.found()
        return place
    from huggingface_hub import snapshot_download

    from tunesmith.hub_errors import plain_words

    with plain_words(name, revision, "hf_hub_token"):
        folder = Path(snapshot_download(name, revision=revision, cache_dir=cache_dir, token=token))
    return Whereabouts(name, folder, commit=folder.name)


def check_pinned(name: str, revision: str) -> None:
    """Code that comes with a model is run from a local folder or at a commit, where it cannot change unseen.

    :raises TunesmithError: ``name`` is neither.
    """
    if not Path(name).expanduser().is_dir() and not COMMIT.fullmatch(revision):
        raise TunesmithError(
            f"{name} brings code of its own, and model_revision {revision!r} can change under you.",
            "Pin it: model_revision: the commit's 40 hexadecimal digits, or download the model and give its folder.",
        )


def read_json(folder: Path, name: str) -> dict[str, Any]:
    """One of a model's JSON files, or an empty dictionary when there is none.

    :raises TunesmithError: it is there and no JSON object.
    """
    file = folder / name
    if not file.is_file():
        return {}
    try:
        plain = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise TunesmithError(f"{file} cannot be read: {error}", "Copy or write it again.") from error
    if not isinstance(plain, dict):
        raise TunesmithError(f"{file} holds no JSON object.")
    return plain


def quantization_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """How the weights beside a ``config.json`` are quantised, by its ``quantization_config``; empty where they are not.

    Models of several parts have it in that of their text. Old ones name no ``quant_method`` but a switch: ``load_in_4bit``.
    """
    text = config.get("text_config")
    held = config.get("quantization_config") or (text.get("quantization_config") if isinstance(text, dict) else None)
    if not isinstance(held, dict):
        return {}
    old = next((switch for switch in ("load_in_4bit", "load_in_8bit") if held.get(switch)), "an unnamed method")
    return {**held, "quant_method": held.get("quant_method") or old}


def missing_shards(folder: Path) -> list[str]:
    """Weight files that the folder's index names and that are not there.

    :raises TunesmithError: the index cannot be read.
    """
    named = read_json(folder, "model.safetensors.index.json").get("weight_map", {})
    return [name for name in sorted(set(named.values())) if not (folder / name).is_file()]


def has_weights(folder: Path) -> bool:
    """Whether the folder holds model weights."""
    return any(next(folder.glob(pattern), None) for pattern in WEIGHT_FILES)


def bears(folder: Path, mark: AdapterMark) -> bool:
    """Whether ``folder`` bears a tuner's mark."""
    if not (folder / mark.file).is_file():
        return False
    return not mark.key or str(read_json(folder, mark.file).get(mark.key)) == mark.value
