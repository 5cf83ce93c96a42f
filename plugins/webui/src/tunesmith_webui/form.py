"""The keys that nearly every configuration sets, as fields: what each may be comes from whoever owns the key."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from tunesmith.errors import TunesmithError
from tunesmith.keys import Key, KeyTable
from tunesmith.kinds import choices, members
from tunesmith.plugins import Plugins

#: The fields in the order of the page, by the word that heads them. Every other key is put by its name.
FIELDS: Mapping[str, tuple[str, ...]] = {
    "model": ("model_name_or_path", "template", "stage", "finetuning_type", "adapter_name_or_path", "quantization_bit"),
    "data": ("dataset", "dataset_dir", "cutoff_len", "max_samples", "val_size", "packing"),
    "training": (
        *("output_dir", "num_train_epochs", "max_steps", "learning_rate", "lr_scheduler_type", "warmup_steps"),
        *("per_device_train_batch_size", "gradient_accumulation_steps", "bf16", "logging_steps", "save_steps", "backend"),
    ),
}
#: Keys whose values are names of what is installed.
NAMES = {"template": "templates", "stage": "trainers", "finetuning_type": "tuners", "backend": "backends"}


@dataclass(frozen=True)
class Field:
    """One key. ``options``: what it may be, empty where that is any text."""

    key: Key
    options: tuple[str, ...]


def fields_of(plugins: Plugins, keys: KeyTable) -> dict[str, list[Field]]:
    """The fields of what is installed, by their heads. A key that no installed package has gets none."""
    return {
        head: [Field(keys[name], _options(keys[name], plugins)) for name in names if name in keys]
        for head, names in FIELDS.items()
    }


def _options(key: Key, plugins: Plugins) -> tuple[str, ...]:
    if key.name in NAMES:
        return tuple(sorted(plugins.axis(NAMES[key.name]).names))
    if bool in members(key.type):
        return ("true", "false")
    return tuple(_written(choice) for choice in choices(key.type) if choice is not None)


def datasets(text: str, root: Path) -> tuple[str, ...]:
    """Names in the ``dataset_info.json`` that a configuration means, for a page to offer; none where it cannot be read."""
    info = root / str(_read(text).get("dataset_dir") or "data") / "dataset_info.json"
    try:
        found = json.loads(info.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return ()
    return tuple(found) if isinstance(found, dict) else ()


def values(text: str, names: tuple[str, ...]) -> list[str] | None:
    """What a configuration says of each key, as one would write it; empty where it says nothing.

    :return: ``None`` while the text is no configuration, as when somebody is in the middle of a line.
    """
    try:
        said = _read(text)
    except TunesmithError:
        return None
    return [_written(said[name]) if name in said else "" for name in names]


def _read(text: str) -> Mapping[str, Any]:
    try:
        said = yaml.safe_load(text) or {}
    except yaml.YAMLError as error:
        raise TunesmithError(f"This is no YAML: {error}") from error
    if not isinstance(said, dict):
        raise TunesmithError("A configuration is a list of key: value.")
    return said


def _written(value: Any) -> str:
    if isinstance(value, str):
        return value
    return yaml.safe_dump(value, default_flow_style=True, width=10_000, allow_unicode=True).removesuffix("...\n").strip()
