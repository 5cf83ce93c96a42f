"""The hubs of a run, with its cache folder and tokens."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tunesmith.data.cache import cache_home

from tunesmith_hubs.hugging_face import HuggingFace
from tunesmith_hubs.modelers import Modelers
from tunesmith_hubs.modelscope import ModelScope
from tunesmith_hubs.object_store import ObjectStore
from tunesmith_hubs.repository import Hub

Value = Callable[[str], Any]


def memory_folder(value: Value) -> Path:
    """Where this package keeps what no library has a cache for: within ``cache_dir``, else in Tunesmith's own cache."""
    if given := value("cache_dir"):
        return Path(given).expanduser() / "tunesmith"
    return cache_home() / "hubs"


def hugging_face(value: Value) -> Hub:
    """Hugging Face, with ``hf_hub_token``."""
    return HuggingFace(_given_cache(value), value("hf_hub_token"))


def modelscope(value: Value) -> Hub:
    """ModelScope, with ``ms_hub_token``."""
    return ModelScope(memory_folder(value), value("ms_hub_token"))


def modelers(value: Value) -> Hub:
    """Modelers, with ``om_hub_token``."""
    return Modelers(_given_cache(value), value("om_hub_token"))


def object_store(value: Value) -> Hub:
    """Any object store."""
    return ObjectStore(memory_folder(value))


def _given_cache(value: Value) -> Path | None:
    return Path(value("cache_dir")).expanduser() if value("cache_dir") else None
