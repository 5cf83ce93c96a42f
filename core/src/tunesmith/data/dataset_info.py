"""Reading ``dataset_info.json``: what each dataset is, where its rows come from and how they are to be read.

Planning uses this before a row is read, so that a wrong name, key, column or file costs seconds rather than a run.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path
from typing import Any

from tunesmith.errors import ConfigError, Problem, TunesmithError, nearest
from tunesmith.json_faults import json_hint
from tunesmith.plan import DatasetPlan
from tunesmith.plugins import Plugins
from tunesmith.specs import FormatSpec, SourceSpec

FILE = "dataset_info.json"
#: Keys that say where rows come from, first choice first. A plugin's source may bring further ones.
SOURCE_KEYS = ("hf_hub_url", "ms_hub_url", "om_hub_url", "script_url", "cloud_file_name", "file_name")
#: Every other key of an entry, and the types it may have.
ENTRY_KEYS: Mapping[str, tuple[type, ...]] = {
    "formatting": (str,),
    "ranking": (bool,),
    "subset": (str, type(None)),
    "split": (str,),
    "revision": (str, type(None)),
    "folder": (str, type(None)),
    "num_samples": (int, type(None)),
    "columns": (dict,),
    "tags": (dict,),
    "placeholders": (dict,),
}
ONLINE, REMOTE = "ONLINE", "REMOTE:"

Catalogue = Mapping[str, "DatasetEntry"]


@dataclass(frozen=True)
class DatasetEntry:
    """One entry of ``dataset_info.json``.

    :param plain: the entry as it is written.
    :param where: the place to name in messages about it.
    :param folder: what its paths are relative to.
    """

    name: str
    plain: Mapping[str, Any]
    where: str
    folder: str

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of example its rows can be read as, by what the entry declares."""
        if self.plain.get("ranking"):
            return ("preference",)
        columns = self.plain.get("columns")
        if isinstance(columns, Mapping) and columns.get("kto_tag"):
            return ("feedback",)
        return ("conversation", "document", "prompt")

    def problem(self, what: str, instead: str = "") -> Problem:
        """Something wrong with this entry."""
        return Problem(self.where, what, instead)


@dataclass(frozen=True)
class Asked:
    """Where the names of datasets were given, for messages, and the sources whose switch is on: they are the first choice for
    a dataset that lies in several places."""

    origin: str = ""
    preferred: tuple[str, ...] = ()


@dataclass
class Described:
    """``problems`` are mistakes; ``missing`` is what is not here: a file, a dataset, a package."""

    datasets: list[DatasetPlan] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    missing: list[Problem] = field(default_factory=list)


# ---- the file --------------------------------------------------------------------------------------------------------


def read_dataset_info(dataset_dir: str | Path | Mapping[str, Any]) -> Catalogue:
    """The entries of ``dataset_dir/dataset_info.json`` by name; a mapping stands for the file's content.

    :raises TunesmithError: there is no such file, or it is no JSON object of objects.
    """
    if isinstance(dataset_dir, Mapping):
        return _entries(dataset_dir, "dataset_dir", ".")
    file = Path(dataset_dir).expanduser() / FILE
    try:
        plain = json.loads(file.read_text(encoding="utf-8-sig"), object_pairs_hook=_unique)
    except FileNotFoundError:
        raise TunesmithError(f"There is no {file}.", "Write dataset_dir: the folder that holds dataset_info.json.") from None
    except OSError as error:
        raise TunesmithError(f"{file} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise ConfigError([Problem(str(file), "this is no UTF-8 text", "Save it as UTF-8.")]) from error
    except json.JSONDecodeError as error:
        what = f"this is no valid JSON: {error.msg}"
        raise ConfigError([Problem(f"{file}:{error.lineno}", what, json_hint(error))]) from error
    except ValueError as error:
        raise ConfigError([Problem(str(file), str(error), "Keep one of them.")]) from error
    if not isinstance(plain, dict):
        raise ConfigError([Problem(str(file), "it holds no JSON object", 'Write {"name": {"file_name": "name.json"}, …}.')])
    return _entries(plain, str(file), str(file.parent))


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object whose keys are all different: of two equal ones JSON would quietly take the last."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{next(name for name in names if names.count(name) > 1)!r} is there twice")
    return found


def _entries(plain: Mapping[str, Any], file: str, folder: str) -> Catalogue:
    wrong = [
        Problem(f"{file}: {name}", "this entry is no JSON object", f'Write "{name}": {{"file_name": …}}.')
        for name, entry in plain.items()
        if not isinstance(entry, Mapping)
    ]
    if wrong:
        raise ConfigError(wrong)
    return {name: DatasetEntry(name, entry, f"{file}: {name}", folder) for name, entry in plain.items()}


def _catalogue(dataset_dir: str | Mapping[str, Any], names: Sequence[str]) -> Catalogue:
    if dataset_dir == ONLINE:
        return {name: DatasetEntry(name, {"hf_hub_url": name}, f"dataset_dir: {ONLINE}", ".") for name in names}
    if isinstance(dataset_dir, str) and dataset_dir.startswith(REMOTE):
        raise TunesmithError(
            f"dataset_dir: {dataset_dir} asks for a {FILE} of the hub, which cannot be fetched while planning.",
            f"Download it, and write dataset_dir: the folder of its {FILE}.",
        )
    return read_dataset_info(dataset_dir)


# ---- what a run's datasets are ---------------------------------------------------------------------------------------


def describe(
    names: Sequence[str],
    split: str,
    *,
    dataset_dir: str | Mapping[str, Any],
    wants: Collection[str],
    plugins: Plugins,
    asked: Asked = Asked(),
) -> Described:
    """What each named dataset is and what rows of it become, or what is wrong with it; no row is read.

    :param split: ``"train"`` or ``"eval"``.
    :param wants: the kinds of example that the run can use, best first; empty when anything will do.
    """
    found = Described()
    try:
        catalogue = _catalogue(dataset_dir, names)
    except ConfigError as error:
        found.problems += error.problems
        return found
    except TunesmithError as error:
        found.missing.append(Problem(asked.origin, error.message, error.hint))
        return found
    for name in names:
        if entry := catalogue.get(name):
            _describe(found, entry, split, tuple(wants), plugins, asked.preferred)
        else:
            found.missing.append(
                Problem(asked.origin, f"there is no dataset {name!r} in {_title(dataset_dir)}", _suggestion(name, catalogue))
            )
    return found


def _title(dataset_dir: str | Mapping[str, Any]) -> str:
    return "dataset_dir" if isinstance(dataset_dir, Mapping) else str(Path(dataset_dir) / FILE)


def _suggestion(name: str, known: Collection[str]) -> str:
    return nearest(name, known) or f"It has: {', '.join(sorted(known)[:20])}{', …' if len(known) > 20 else ''}."


def _describe(
    found: Described, entry: DatasetEntry, split: str, wants: tuple[str, ...], plugins: Plugins, preferred: Collection[str]
) -> None:
    first = sorted(plugins.sources, key=lambda offer: offer.spec.name not in preferred)
    sources = {offer.spec.key: offer.spec for offer in first}
    problems = list(_check_keys(entry, sources))
    spec = _format(entry, plugins, problems, found.missing)
    kind = _check_kind(entry, spec, wants, problems) if spec else None
    source = _source(entry, sources, [offer.spec.key for offer in first if offer.spec.name in preferred])
    if source is None:
        (found.missing if _source_keys(entry, SOURCE_KEYS) else problems).append(_no_source(entry))
    found.problems += problems
    if source and spec and kind and not problems:
        dataset = DatasetPlan(
            entry.name, split, source.name, entry.plain.get("formatting") or spec.name, kind, entry.plain, entry.folder
        )
        found.datasets.append(_with_files(dataset, source, entry, found.missing))


def _with_files(dataset: DatasetPlan, source: SourceSpec, entry: DatasetEntry, missing: list[Problem]) -> DatasetPlan:
    try:
        files = source_files(source, dataset)
    except TunesmithError as error:
        missing.append(entry.problem(error.message, error.hint))
        return dataset
    return replace(dataset, files=tuple(map(str, files)), size=sum(file.stat().st_size for file in files))


def source_files(source: SourceSpec, dataset: DatasetPlan) -> tuple[Path, ...]:
    """The local files of a dataset, as its source's spec says they are listed; empty where it has none.

    :raises TunesmithError: a file is not there.
    """
    if not source.files:
        return ()
    module, _, attribute = source.files.partition(":")
    list_files: Callable[[Mapping[str, Any], str], tuple[Path, ...]] = getattr(import_module(module), attribute)
    return list_files(dataset.entry, dataset.folder)


# ---- checks of one entry ---------------------------------------------------------------------------------------------


def _check_keys(entry: DatasetEntry, sources: Collection[str]) -> Iterator[Problem]:
    known = {*ENTRY_KEYS, *SOURCE_KEYS, *sources}
    for key, value in entry.plain.items():
        if key not in known:
            yield entry.problem(f"unknown key {key!r}", nearest(key, known) or f"Known: {', '.join(sorted(known))}.")
        elif not _fits(value, ENTRY_KEYS.get(key, (str, list))):
            yield entry.problem(f"{key} is {json.dumps(value, ensure_ascii=False)[:60]}", f"Write {_type_words(key)}.")


def _fits(value: object, kinds: tuple[type, ...]) -> bool:
    return isinstance(value, kinds) and not (isinstance(value, bool) and bool not in kinds)


def _type_words(key: str) -> str:
    words = {str: "a string", bool: "true or false", int: "a whole number", dict: "an object of names"}
    return " or ".join(words[kind] for kind in ENTRY_KEYS.get(key, (str,)) if kind in words)


def _source_keys(entry: DatasetEntry, known: Collection[str]) -> list[str]:
    return [key for key in dict.fromkeys((*SOURCE_KEYS, *known)) if entry.plain.get(key)]


def _source(entry: DatasetEntry, sources: Mapping[str, SourceSpec], first: Sequence[str]) -> SourceSpec | None:
    """The source of the first key that the entry has and somebody offers: several keys name copies of one dataset."""
    keys = [*(key for key in first if entry.plain.get(key)), *_source_keys(entry, sources)]
    return next((sources[key] for key in keys if key in sources), None)


def _no_source(entry: DatasetEntry) -> Problem:
    keys = _source_keys(entry, SOURCE_KEYS)
    if not keys:
        return entry.problem(
            "it does not say where its rows are", 'Write "file_name": "…", relative to the folder of this file.'
        )
    return entry.problem(
        f"no installed plugin reads {' or '.join(keys)}", 'Install one, or download the rows and write "file_name".'
    )


def _format(entry: DatasetEntry, plugins: Plugins, problems: list[Problem], missing: list[Problem]) -> FormatSpec | None:
    name = entry.plain.get("formatting")
    try:
        spec = _default_format(plugins) if name is None else plugins.formats.get(str(name)).spec
    except TunesmithError as error:
        installable = name is None or (name not in plugins.formats and name in plugins.catalogue.names("formats"))
        (missing if installable else problems).append(entry.problem(error.message, error.hint))
        return None
    problems += _check_names(entry, "columns", spec)
    problems += _check_names(entry, "tags", spec)
    return spec


def _default_format(plugins: Plugins) -> FormatSpec:
    """The one format that reads entries without ``formatting``."""
    offers = [offer for offer in plugins.formats if offer.spec.default]
    if len(offers) == 1:
        return offers[0].spec
    if offers:
        names = " and ".join(f"{offer.spec.name}@{offer.owner.plugin}" for offer in offers)
        raise TunesmithError(f"formatting is not given, and {names} are each the default", 'Write "formatting".')
    packages = sorted(set(plugins.catalogue.names("formats").values()))
    hint = f"pip install {' '.join(packages)}" if packages else 'Write "formatting".'
    raise TunesmithError("formatting is not given, and no installed format is the default", hint)


def _check_names(entry: DatasetEntry, key: str, spec: FormatSpec) -> Iterator[Problem]:
    known: Mapping[str, str | None] = spec.columns if key == "columns" else spec.tags
    given = entry.plain.get(key, {})
    for name, value in given.items() if isinstance(given, Mapping) else ():
        if name not in known:
            hint = nearest(name, known) or f"The format {spec.name} has: {', '.join(known) or 'none'}."
            yield entry.problem(f"unknown {key[:-1]} {name!r} in {key}", hint)
        elif not isinstance(value, str) and not (value is None and key == "columns"):
            yield entry.problem(f"{key}.{name} is {json.dumps(value)}", "Write a name as a string.")


def _check_kind(entry: DatasetEntry, spec: FormatSpec, wants: tuple[str, ...], problems: list[Problem]) -> str | None:
    usable = [kind for kind in entry.kinds if kind in spec.yields]
    kind = next((kind for kind in wants or usable if kind in usable), None)
    if kind is None:
        problems.append(_kind_problem(entry, spec, wants))
    return kind


def _kind_problem(entry: DatasetEntry, spec: FormatSpec, wants: tuple[str, ...]) -> Problem:
    have = " or ".join(kind for kind in entry.kinds if kind in spec.yields) or "nothing it could be"
    what = f"the run learns from {' or '.join(wants)} examples; this dataset, read by {spec.name}, gives {have}"
    if "preference" in wants and "preference" in spec.yields:
        return entry.problem(what, 'Write "ranking": true, and name the chosen and rejected columns.')
    if "feedback" in wants and "feedback" in spec.yields:
        return entry.problem(what, 'Name the column that tells good from bad: "columns": {"kto_tag": …}.')
    if entry.plain.get("ranking"):
        return entry.problem(what, 'Use another dataset or stage, or an entry without "ranking": true.')
    return entry.problem(what, "Use another dataset, format or stage.")


# ---- names of a format's columns and tags ----------------------------------------------------------------------------


def names_of(dataset: DatasetPlan, spec: FormatSpec) -> tuple[dict[str, str | None], dict[str, str]]:
    """Columns and tags of a dataset: the format's defaults, with those that the entry names put over them."""
    return {**spec.columns, **dataset.entry.get("columns", {})}, {**spec.tags, **dataset.entry.get("tags", {})}
