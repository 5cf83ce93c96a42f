"""Flat YAML, environment variables and overrides → :class:`~tunesmith.config.RunConfig`, or every problem at once."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tunesmith.command_words import WHERE, read_words
from tunesmith.config import RunConfig, Setting
from tunesmith.environment import PREFIX, read_environment
from tunesmith.errors import ConfigError, Problem, nearest
from tunesmith.keys import Key, KeyTable
from tunesmith.known_keys import rows
from tunesmith.plan import is_secret
from tunesmith.plugins import Plugins
from tunesmith.translations import shown, translate, translations
from tunesmith.values import BadValueError, convert, is_null
from tunesmith.yaml_lines import Entry, read_file

Source = Path | Mapping[str, Any] | None


def read(
    plugins: Plugins, source: Source = None, overrides: Sequence[str] = (), environ: Mapping[str, str] = os.environ
) -> RunConfig:
    """As :func:`gather`, for who needs a configuration without problems.

    :raises ConfigError: everything that is wrong, each with its place and with what to write instead.
    """
    config = gather(plugins, source, overrides, environ)
    if config.problems:
        raise ConfigError(config.problems)
    return config


def gather(
    plugins: Plugins, source: Source = None, overrides: Sequence[str] = (), environ: Mapping[str, str] = os.environ
) -> RunConfig:
    """Read one run's configuration. The command line wins over the environment, and that over the file.

    What is wrong is kept in ``problems``, so that planning can report it together with what it finds itself.

    :param source: a YAML or JSON file, or a mapping of flat keys; without it the file may stand among ``overrides``.
    :param overrides: words of a command line.
    :raises ConfigError: there is no such file.
    """
    reading = Reading(KeyTable.of(plugins))
    words = read_words(overrides, reading.keys)
    if words.problems and source is None and not words.files:
        raise ConfigError(words.problems)  # what was meant for the file was not understood: all that it says would be missing
    reading.problems += words.problems
    given, file = _source(source, words.files, reading)
    around = [entry for entry in read_environment(environ) if _concerns(entry, reading.keys)]
    for layer in (given, around, words.entries):
        reading.take(layer)
    settings = {key: setting for key, parts in reading.parts.items() if (setting := reading.setting(key, parts))}
    return RunConfig(settings, reading.keys, file, tuple(dict.fromkeys(reading.notices)), tuple(reading.problems))


def gather_entries(plugins: Plugins, entries: Sequence[Entry], file: Path | None) -> RunConfig:
    """As :func:`gather`, of keys whose values and origins are known already: those of another process."""
    reading = Reading(KeyTable.of(plugins))
    reading.take(entries)
    settings = {key: setting for key, parts in reading.parts.items() if (setting := reading.setting(key, parts))}
    return RunConfig(settings, reading.keys, file, tuple(dict.fromkeys(reading.notices)), tuple(reading.problems))


def _concerns(entry: Entry, keys: KeyTable) -> bool:
    """Whether a variable is for anything here: many programs read ``API_KEY``, and one of our commands if it is there."""
    row = None if entry.where.startswith(PREFIX) else rows().get(entry.key)
    return entry.key in keys or row is None or not row.only_with.startswith("command=")


def _source(source: Source, files: list[str], reading: Reading) -> tuple[list[Entry], Path | None]:
    """The entries of the one configuration, and its file."""
    if isinstance(source, Mapping):
        return [Entry(str(key), value, "Python") for key, value in source.items()], None
    paths = [*([source] if source is not None else []), *map(Path, files)]
    if len(paths) > 1:
        names = " and ".join(map(str, paths))
        reading.problems.append(
            Problem(WHERE, f"{len(paths)} configuration files: {names}", "Name one; override with key=value.")
        )
    if not paths:
        return [], None
    entries, problems = read_file(_existing(paths[0]))
    reading.problems += problems
    return entries, paths[0]


def _existing(path: Path) -> Path:
    if path.is_file():
        return path
    if path.is_dir():
        raise ConfigError([Problem(WHERE, f"{path} is a folder", "Name the configuration file in it.")])
    folder = path.parent
    names = sorted(file.name for file in folder.iterdir() if file.is_file()) if folder.is_dir() else []
    hint = nearest(path.name, names) or (f"There is no folder {folder}." if not folder.is_dir() else "")
    raise ConfigError([Problem(WHERE, f"there is no configuration file {path}", hint)])


@dataclass
class Reading:
    """A configuration while it is being read: what was given for each key, weakest first."""

    keys: KeyTable
    parts: dict[str, list[Entry]] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)

    # -- gathering -----------------------------------------------------------------------------------------------------

    def take(self, layer: Iterable[Entry]) -> None:
        """Take up one layer: old names are translated, and what an earlier layer gave is replaced."""
        entries = list(layer)
        written = {entry.key: entry for entry in entries}
        found: dict[str, Entry] = {}
        for entry in entries:
            today = self._today(entry)
            if today is not None and not self._is_said_already(entry, today, found, written):
                found[today.key] = today
        for entry in sorted(found.values(), key=lambda entry: "." in entry.key):  # whole values first
            self._put(entry)

    def _today(self, entry: Entry) -> Entry | None:
        key = self.keys.get(entry.key)
        if entry.key not in translations() or (key and key.status != "translated" and not _renames_itself(entry.key)):
            return entry
        today, notice, problem = translate(entry)
        self.problems += [problem] if problem else []
        self.notices += [notice] if notice else []
        if today and today.key != entry.key and today.key in translations():
            return self._today(today)
        return today

    def _is_said_already(self, entry: Entry, today: Entry, found: Mapping[str, Entry], written: Mapping[str, Entry]) -> bool:
        """Whether the same layer says the same key under its own name: equal is fine, different is a problem."""
        if entry.key == today.key:
            return False
        other = written.get(today.key) or found.get(today.key)
        if other is None:
            return False
        if shown(other.value) != shown(today.value):
            what = f"{entry.key} and {other.key} ({other.where}) mean the same and say different things"
            self.problems.append(Problem(entry.where, what, f"Keep {today.key}."))
        return True

    def _put(self, entry: Entry) -> None:
        name, _, inside = entry.key.partition(".")
        if inside:
            self.parts.setdefault(name, []).append(entry)
        else:
            self.parts[name] = [entry]

    # -- checking ------------------------------------------------------------------------------------------------------

    def setting(self, name: str, parts: list[Entry]) -> Setting | None:
        """The typed value of one key, or nothing where something is wrong with it."""
        last = parts[-1]
        if name not in self.keys:
            self.problems.append(Problem(last.where, f"there is no key {name}", self.keys.advice(name)))
            return None
        if clash := self.keys.clash(name):
            self.problems.append(Problem(last.where, clash.message, clash.hint))
            return None
        key = self.keys[name]
        try:
            value = convert(key.type, _whole(parts), key.bounds)
        except BadValueError as error:
            self.problems.append(self._wrong(key, last, error))
            return None
        if key.status in ("refused", "translated"):
            self._refuse(key, last, value)
            return None
        return Setting(value, last.where, key.owner, given=True)

    def _refuse(self, key: Key, entry: Entry, value: Any) -> None:
        if value == key.default:
            self.notices.append(f"{entry.where}: {key.name} is left out: {shown(entry.value)} changes nothing")
        else:
            self.problems.append(Problem(entry.where, f"{key.name} is not supported", key.reason))

    def _wrong(self, key: Key, entry: Entry, error: BadValueError) -> Problem:
        given = "what was given" if is_secret(key.name) else shown(entry.value)
        instead = error.instead
        if not instead and is_null(entry.value):
            instead = f"Leave it out for its default, {shown(key.default)}."
        return Problem(entry.where, f"{key.name} must be {error.expected}, not {given}", instead)


def _renames_itself(name: str) -> bool:
    return any(row.new == name for row in translations()[name])


def _whole(parts: list[Entry]) -> Any:
    """One raw value out of a whole one and those laid into it by dotted keys."""
    value: Any = None
    for entry in parts:
        path = entry.key.split(".")[1:]
        value = _laid_into(value, path, entry) if path else entry.value
    return value


def _laid_into(value: Any, path: list[str], entry: Entry) -> Any:
    if not path:
        return entry.value
    if value is not None and not isinstance(value, Mapping):
        name = entry.key.split(".")[0]
        raise BadValueError(f"a mapping to take {entry.key}", f"Leave {entry.key} out, or write {name} as a mapping.")
    inner = dict(value or {})
    inner[path[0]] = _laid_into(inner.get(path[0]), path[1:], entry)
    return inner
