"""Which files of a repository are a subset and a split of its dataset.

The rules are those of the Hub (huggingface.co/docs/hub/datasets-data-files-configuration): what the card's ``configs`` say,
else ``data/SPLIT-00000-of-00001.*``, else names of splits in folder names, then in file names, else everything is ``train``.
Splits are named by their keywords, so that ``dev.jsonl`` belongs to ``validation``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import PurePosixPath
from typing import Any

import yaml
from fsspec.utils import glob_translate
from tunesmith.defaults.local_files import READERS
from tunesmith.errors import TunesmithError, nearest

from tunesmith_hubs.scripts import WHY

KEYWORDS: Mapping[str, tuple[str, ...]] = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "dev", "val"),
    "test": ("test", "testing", "eval", "evaluation"),
}
BORDER = "[-._ 0-9]"
SHARDED = re.compile(r"data/(?P<split>[^/]+)-\d{5}-of-\d{5}[^/]*\.[^/]*")
#: Files that describe a dataset and are no part of it.
ABOUT = {"README.md", "config.json", "dataset_info.json", "dataset_infos.json", "dataset_dict.json"}
CARD = "README.md"


@dataclass(frozen=True)
class Wanted:
    """What an entry of ``dataset_info.json`` asks for; ``folder`` may be a folder, a file or a pattern."""

    subset: str | None = None
    split: str = "train"
    folder: str | None = None

    @classmethod
    def of(cls, entry: Mapping[str, Any]) -> Wanted:
        """Read from an entry.

        :raises TunesmithError: the split is a slice.
        """
        split = str(entry.get("split") or "train")
        if "[" in split:
            raise TunesmithError(
                f"split: {split!r} is a slice.", "Name whole splits; num_samples and max_samples take fewer rows."
            )
        return cls(entry.get("subset"), split, entry.get("folder"))


def choose_files(paths: Iterable[str], card: str, wanted: Wanted) -> list[str]:
    """The files of a subset and split, in order.

    :param paths: every file of the repository, relative to its root.
    :param card: the text of its ``README.md``, empty where it has none.
    :raises TunesmithError: there is no such subset, split or folder, or nothing that can be read; names what there is.
    """
    visible = [path for path in sorted(paths) if not _hidden(path)]
    splits = _splits(visible, card, wanted)
    chosen: list[str] = []
    for name in (part.strip() for part in wanted.split.split("+")):
        if name == "all" and name not in splits:
            chosen += [path for files in splits.values() for path in files]
        elif name in splits:
            chosen += splits[name]
        else:
            hint = nearest(name, splits) or f"It has: {', '.join(splits)}."
            raise TunesmithError(f"There is no split {name!r}.", f'{hint} Write "split".')
    return one_type(list(dict.fromkeys(chosen)))


def one_type(paths: Sequence[str]) -> list[str]:
    """``paths``, made sure to be of one type.

    :raises TunesmithError: they mix types.
    """
    kinds = sorted({PurePosixPath(path).suffix.lower() for path in paths})
    if len(kinds) > 1:
        examples = ", ".join(next(path for path in paths if path.lower().endswith(kind)) for kind in kinds)
        raise TunesmithError(f"The files are of several types: {examples}.", 'Write "folder": a folder, a file or a pattern.')
    return list(paths)


def readable(paths: Sequence[str]) -> list[str]:
    """Those of ``paths`` that can be read as rows.

    :raises TunesmithError: none can; says what there is.
    """
    found = [path for path in paths if PurePosixPath(path).suffix.lower() in READERS]
    if found:
        return found
    if any(path.endswith(".py") for path in paths):
        raise TunesmithError(f"It has no file that can be read: {WHY}.", "Use a copy with parquet or jsonl files.")
    kinds = sorted({PurePosixPath(path).suffix or path for path in paths})
    known = ", ".join(kind.lstrip(".") for kind in READERS)
    raise TunesmithError(f"It has no file that can be read, only {', '.join(kinds) or 'nothing'}.", f"Known are {known}.")


def _hidden(path: str) -> bool:
    parts = PurePosixPath(path).parts
    return any(part.startswith((".", "__")) for part in parts) or parts[-1] in ABOUT


def _splits(paths: Sequence[str], card: str, wanted: Wanted) -> dict[str, list[str]]:
    if wanted.folder:
        if wanted.subset:
            raise TunesmithError("subset and folder both say where the files are.", "Keep one of them.")
        return _by_names(*_inside(paths, wanted.folder))
    configs = _configs(card)
    if not configs:
        if wanted.subset:
            folders = sorted({path.partition("/")[0] for path in paths if "/" in path})
            hint = nearest(wanted.subset, folders) or f"Folders: {', '.join(folders) or 'none'}."
            raise TunesmithError(f"It declares no subsets, so there is no {wanted.subset!r}.", f'{hint} Write "folder".')
        return _by_names(readable(paths))
    return _of_config(paths, _config(configs, wanted.subset))


def _inside(paths: Sequence[str], folder: str) -> tuple[list[str], str]:
    """The files in a folder, or of a pattern, and the folder."""
    root = folder.strip("/")
    if any(mark in root for mark in "*?[") or root in paths:
        matching = _matching(paths, root)
        if not matching:
            raise TunesmithError(f"No file is called like {folder}.", 'Write "folder": a folder, a file or a pattern.')
        return readable(matching), ""
    inside = [path for path in paths if path.startswith(f"{root}/")]
    if not inside:
        folders = {str(parent) for path in paths for parent in PurePosixPath(path).parents} - {"."}
        raise TunesmithError(
            f"There is no folder {folder}.", nearest(root, folders) or f"It has: {', '.join(sorted(folders))}."
        )
    return readable(inside), f"{root}/"


# ---- what the card says ----------------------------------------------------------------------------------------------


def _configs(card: str) -> dict[str, Mapping[str, Any]]:
    found = re.match(r"---\s*\n(.*?)\n---\s*(\n|$)", card, re.DOTALL)
    try:
        plain = yaml.safe_load(found[1]) if found else None
    except yaml.YAMLError as error:
        raise TunesmithError(f"The head of its {CARD} is no YAML: {str(error).splitlines()[0]}.", 'Write "folder".') from error
    configs = plain.get("configs") if isinstance(plain, dict) else None
    known = configs if isinstance(configs, list) else []
    return {str(one.get("config_name", "default")): one for one in known if isinstance(one, dict)}


def _config(configs: Mapping[str, Mapping[str, Any]], subset: str | None) -> Mapping[str, Any]:
    if subset is None:
        default = [name for name, one in configs.items() if one.get("default")] or [
            name for name in configs if name == "default"
        ]
        if default or len(configs) == 1:
            return configs[(default or list(configs))[0]]
        raise TunesmithError("It has several subsets and no default.", f'Write "subset": one of {", ".join(configs)}.')
    if subset not in configs:
        hint = nearest(subset, configs) or f"It has: {', '.join(configs)}."
        raise TunesmithError(f"There is no subset {subset!r}.", hint)
    return configs[subset]


def _of_config(paths: Sequence[str], config: Mapping[str, Any]) -> dict[str, list[str]]:
    root = str(config.get("data_dir") or "").strip("/")
    files = config.get("data_files")
    if files is None:
        return _by_names(*_inside(paths, root)) if root else _by_names(readable(paths))
    if not isinstance(files, list) or not all(isinstance(one, dict) for one in files):
        files = [
            {"split": split, "path": some} for split, some in (files if isinstance(files, dict) else {"train": files}).items()
        ]
    prefix = f"{root}/" if root else ""
    return {str(one["split"]): _declared(paths, one["path"], prefix) for one in files}


def _declared(paths: Sequence[str], patterns: object, prefix: str) -> list[str]:
    wanted = [f"{prefix}{pattern}" for pattern in (patterns if isinstance(patterns, list) else [patterns])]
    return readable([path for pattern in wanted for path in _matching(paths, pattern)])


@cache
def _regex(pattern: str) -> re.Pattern[str]:
    return re.compile(glob_translate(pattern))


def _matching(paths: Sequence[str], pattern: str) -> list[str]:
    plain = pattern.removeprefix("./")
    return [path for path in paths if path == plain or _regex(plain).match(path)]


# ---- what the names say ----------------------------------------------------------------------------------------------


def _by_names(paths: Sequence[str], root: str = "") -> dict[str, list[str]]:
    """Splits by the names of the files and folders within ``root``."""
    sharded: dict[str, list[str]] = {}
    for path in paths:
        if match := SHARDED.fullmatch(path.removeprefix(root)):
            sharded.setdefault(match["split"], []).append(path)
    if sharded:
        return {name: sharded[name] for name in sorted(sharded, key=lambda name: ([*KEYWORDS, name].index(name), name))}
    for fits in (_in_folder, _in_file):
        found = {
            split: [p for p in paths if any(fits(p.removeprefix(root), w) for w in words)] for split, words in KEYWORDS.items()
        }
        if named := {split: files for split, files in found.items() if files}:
            return named
    return {"train": list(paths)}


def _in_folder(path: str, word: str) -> bool:
    return any(re.fullmatch(rf"(.*{BORDER})?{word}({BORDER}.*)?", folder) for folder in PurePosixPath(path).parts[:-1])


def _in_file(path: str, word: str) -> bool:
    return re.fullmatch(rf"(.*{BORDER})?{word}{BORDER}.*", PurePosixPath(path).name) is not None
