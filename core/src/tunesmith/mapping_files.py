"""Settings of a library that a key gives as a mapping, or as a file that holds one. No torch."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

from tunesmith.errors import TunesmithError, nearest

READERS: Mapping[str, Callable[[str], Any]] = {".json": json.loads, ".yaml": yaml.safe_load, ".yml": yaml.safe_load}


def read_mapping(given: Mapping[str, Any] | str | None, folder: Path, whose: str) -> dict[str, Any]:
    """A copy of the mapping, or what the JSON or YAML file holds; empty where nothing is given.

    :param given: a mapping, or a file: looked for beside the run's configuration, then in the working folder.
    :param folder: the folder of the run's configuration.
    :param whose: whose configuration it is, for messages.
    :raises TunesmithError: there is no such file, or it holds no mapping.
    """
    if not isinstance(given, str):
        return copy.deepcopy(dict(given or {}))
    file = next((path for path in (folder / given, Path(given)) if path.is_file()), None)
    if file is None:
        raise TunesmithError(f"there is no {whose} configuration {given}", _hint(folder / given, whose))
    read = READERS.get(file.suffix, json.loads)
    try:
        plain = read(file.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, yaml.YAMLError, UnicodeDecodeError) as error:
        kind = "YAML" if read is yaml.safe_load else "JSON"
        raise TunesmithError(f"{file} is no valid {kind}: {error}", "Mend the file.") from error
    if not isinstance(plain, dict):
        raise TunesmithError(f"{file} holds no mapping", "Mend the file.")
    return plain


def _hint(file: Path, whose: str) -> str:
    beside = file.parent
    names = [one.name for one in beside.iterdir() if one.suffix in READERS] if beside.is_dir() else []
    return nearest(file.name, names) or f"tunesmith ships some: examples/{whose.lower()}"
