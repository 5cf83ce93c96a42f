"""TOML → :class:`~tunesmith.templates.model.Template`, every mistake named by file, line, table and key."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from tunesmith.errors import ConfigError, Problem, TunesmithError, nearest
from tunesmith.specs import TemplateSpec
from tunesmith.templates.dates import printed
from tunesmith.templates.model import (
    SLOT_KEYS,
    TOOL_SLOT_KEYS,
    Channels,
    DateRule,
    MediaForm,
    Part,
    Refusal,
    Slot,
    Template,
    Thinking,
    ToolTable,
    nodes_in,
    paths_in,
)
from tunesmith.templates.reasoning import EFFORTS
from tunesmith.templates.slots import BadSlot, check_condition, parse_slot
from tunesmith.templates.toml_tables import TomlFile, file_with, headers, read_toml

#: Changes when the meaning of a table changes, so that fingerprints change with it.
LANGUAGE = 2
_TEXTS = ("summary", "source", "default_system", "bos", "eos", "order", "gather", "effort")
_LISTS = ("models", "notes", "differs", "stop", "leaves_out")
_TABLES = ("date", "thinking", "channels", "media", "refuse")
_MEDIA_KINDS = ("image", "video", "audio")
_CHANNEL_KEYS = ("mark", "body", "ends", "recipient", "thoughts")
_KEYS = (*_TEXTS, *_LISTS, *_TABLES, *SLOT_KEYS, "tools", "parts", "extends")
_TOOL_KEYS = (*TOOL_SLOT_KEYS, "alone", "parts", "extends")
_CALL_NAMES = ("call", "tool", "result")


#: Finds the spec of a template that other packages offer, for ``extends``.
Finder: TypeAlias = Callable[[str], TemplateSpec | None]


def read_template(wanted: TemplateSpec | str | Path, table: str = "", find: Finder | None = None) -> Template:
    """The template of a spec, or of ``table`` in a file (its only one when ``table`` is empty).

    :param find: looks up what a table extends when neither its file nor its folder has it.
    :raises ConfigError: lists everything wrong with the table, each with file and line.
    """
    if isinstance(wanted, TemplateSpec):
        return _read(Path(wanted.file), wanted.table, find)
    return _read(Path(wanted), table, find)


def read_tool_table(path: Path, name: str) -> ToolTable:
    """The tool syntax ``[syntax.NAME]`` of a file."""
    reading = _Reading(read_toml(path), f"syntax.{name}")
    table = reading.file.tables.get("syntax", {}).get(name)
    if table is None:
        raise ConfigError([Problem(str(path), f"there is no table [syntax.{name}]")])
    tools = reading.tools(reading.merged_tools(table), "")
    reading.finish()
    assert isinstance(tools, ToolTable)
    return tools


def _read(path: Path, table: str, find: Finder | None) -> Template:
    file = read_toml(path)
    name = table or _only_table(file)
    if not isinstance(file.tables.get(name), Mapping):
        known = [key for key in file.tables if key != "syntax"]
        hint = nearest(name, known) or f"It has: {', '.join(known)}."
        raise ConfigError([Problem(str(path), f"there is no table [{name}]", hint)])
    reading = _Reading(file, name, find)
    found = reading.template(reading.merged(name, ()))
    reading.finish()
    return found


def _only_table(file: TomlFile) -> str:
    names = [name for name, table in file.tables.items() if isinstance(table, Mapping) and name != "syntax"]
    shown = [name for name in names if not name.startswith("_")]
    if len(shown) != 1:
        what = f"holds {len(shown)} templates" + (f": {', '.join(shown)}" if shown else "")
        raise ConfigError([Problem(str(file.path), what, f"Write which one: {file.path}:{shown[0] if shown else 'name'}")])
    return shown[0]


@dataclass(frozen=True)
class _Source:
    """Where a merged key was written: what error messages name."""

    file: TomlFile
    table: str


class _Reading:
    """One table being read, with the problems found so far."""

    def __init__(self, file: TomlFile, name: str, find: Finder | None = None) -> None:
        self.find = find
        self.file = file
        self.name = name
        self.problems: list[Problem] = []
        self._sources: dict[str, _Source] = {}

    def finish(self) -> None:
        if self.problems:
            raise ConfigError(self.problems)

    def bad(self, key: str, what: str, instead: str = "") -> None:
        source = self._sources.get(key.partition(".")[0], _Source(self.file, self.name))
        self.problems.append(Problem(source.file.where(source.table, key), f"[{source.table}] {what}", instead))

    def _written(self, key: str) -> TomlFile:
        """The file that a key was written in, which for what is inherited may be another package's."""
        return self._sources[key].file if key in self._sources else self.file

    # -- inheritance -------------------------------------------------------------------------------------------------

    def merged(self, name: str, below: tuple[str, ...], file: TomlFile | None = None) -> dict[str, Any]:
        """The table with what it extends filled in, nearest first."""
        file = file or self.file
        table = dict(file.tables.get(name, {}))
        source = _Source(file, name)
        for key in table:
            self._sources.setdefault(key, source)
        parent = table.pop("extends", None)
        if parent is None:
            return table
        return self._over(self._parent(str(parent), source, (*below, name)), table)

    def _parent(self, name: str, source: _Source, below: tuple[str, ...]) -> dict[str, Any]:
        if name in below:
            raise ConfigError([self._extends(source, f"extends itself: {' → '.join((*below, name))}")])
        if name in source.file.tables:
            return self.merged(name, below, source.file)
        path = file_with(source.file.path.parent, name)
        if path is None and self.find is not None and (spec := self.find(name)) is not None:
            return self.merged(spec.table, below, read_toml(Path(spec.file)))
        if path is None:
            known = [key for file in sorted(source.file.path.parent.glob("*.toml")) for key, _ in headers(file)]
            raise ConfigError([self._extends(source, f"extends {name!r}, which there is not", nearest(name, known))])
        return self.merged(name, below, read_toml(path))

    @staticmethod
    def _extends(source: _Source, what: str, instead: str = "") -> Problem:
        return Problem(source.file.where(source.table, "extends"), f"[{source.table}] {what}", instead)

    @staticmethod
    def _over(parent: dict[str, Any], child: Mapping[str, Any]) -> dict[str, Any]:
        merged = dict(parent)
        for key, value in child.items():
            both = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
            merged[key] = {**merged[key], **value} if both else value
        return {key: value for key, value in merged.items() if value is not False}

    def merged_tools(self, table: Mapping[str, Any]) -> dict[str, Any]:
        """A tool syntax with the one it extends, of the same file or folder, filled in."""
        parent = table.get("extends")
        own = {key: value for key, value in table.items() if key != "extends"}
        if parent is None:
            return own
        found = named_tool_table(self._written("tools"), str(parent))
        if found is None:
            self.bad("tools.extends", f"extends the tool syntax {parent!r}, which there is not")
            return own
        return self._over(self.merged_tools(found), own)

    # -- reading -----------------------------------------------------------------------------------------------------

    def template(self, table: dict[str, Any]) -> Template:
        for key in table:
            if key not in _KEYS:
                self.bad(key, f"has the key {key!r}, which templates do not have", nearest(key, _KEYS))
        plain: dict[str, Any] = {key: self._text(table, key) for key in _TEXTS if key in table}
        plain |= {key: self._list(table, key) for key in _LISTS if key in table}
        plain |= {key: self._slot(table[key], key) for key in SLOT_KEYS if key in table}
        if plain.get("order", "free") not in ("free", "alternate"):
            self.bad("order", f"order is {plain['order']!r}", 'Write "free" or "alternate".')
        if plain.get("effort", EFFORTS[0]) not in EFFORTS:
            self.bad("effort", f"effort is {plain['effort']!r}", f"Write one of {', '.join(EFFORTS)}.")
        template = Template(
            name=self.name,
            where=str(self.file.path),
            date=self._date(table.get("date")),
            thinking=self._thinking(table.get("thinking")),
            channels=self._channels(table.get("channels")),
            media=self._media(table.get("media")),
            refuse=self._refusals(table.get("refuse", [])),
            tools=self._tools_of(table.get("tools")),
            parts=self._parts(table.get("parts", {}), "parts"),
            identity=_identity(table),
            **plain,
        )
        self._whole(template, table)
        self._check_parts(template)
        return template

    def _whole(self, template: Template, table: Mapping[str, Any]) -> None:
        for key in ("user", "reply"):
            if not table.get(key):
                self.bad("", f"has no {key!r}", 'A template needs at least user = "…{content}…" and reply = "…{content}{eos}".')
        thinking = template.thinking
        if thinking is not None and thinking.history != "never" and template.reply and not _writes_thoughts(template.reply):
            hint = 'Write {thinking} in reply, or history = "never" where the published template cuts every thought off.'
            self.bad("thinking", "has a thinking table, and its reply loses every thought", hint)
        if set(template.leaves_out) - {"system"}:
            self.bad("leaves_out", "leaves_out names more than the system text", 'Write leaves_out = ["system"], or refuse it.')
        if not template.stop and not template.eos:
            self.bad("", "has neither stop nor eos", 'Write the token that ends a reply: stop = ["<|im_end|>"]')

    def _tools_of(self, value: Any) -> ToolTable | str | None:
        if isinstance(value, str):
            found = named_tool_table(self._written("tools"), value)
            return value if found is None else self.tools(self.merged_tools(found), "", value)
        if isinstance(value, Mapping):
            return self.tools(self.merged_tools(value), "tools.")
        if value is not None:
            self.bad("tools", "tools is neither the name of a tool syntax nor a table")
        return None

    def tools(self, table: Mapping[str, Any], at: str, name: str = "") -> ToolTable:
        for key in table:
            if key not in _TOOL_KEYS:
                self.bad(at + key, f"has the key {key!r}, which tool syntaxes do not have", nearest(key, _TOOL_KEYS))
        slots = {key: self._slot(table[key], at + key, _CALL_NAMES) for key in TOOL_SLOT_KEYS if key in table}
        source = {key: table[key] for key in TOOL_SLOT_KEYS if isinstance(table.get(key), str)}
        parts = self._parts(table.get("parts", {}), f"{at}parts")
        source |= {f"parts.{key}": str(text) for key, text in dict(table.get("parts", {})).items()}
        return ToolTable(name=name, alone=bool(table.get("alone", False)), parts=parts, source=source, **slots)

    def _parts(self, table: Any, key: str) -> dict[str, Slot]:
        if not isinstance(table, Mapping):
            self.bad(key, f"{key} is no table")
            return {}
        return {name: self._slot(text, f"{key}.{name}", _CALL_NAMES) for name, text in table.items()}

    def _check_parts(self, template: Template) -> None:
        """Every part that is written must be there."""
        tools = template.tools if isinstance(template.tools, ToolTable) else ToolTable()
        parts = {**template.parts, **tools.parts}
        slots = dict(template.slots())
        slots |= {f"tools.{key}": getattr(tools, key) for key in TOOL_SLOT_KEYS} | {
            f"parts.{key}": slot for key, slot in parts.items()
        }
        for key, slot in slots.items():
            for node in nodes_in(slot):
                if isinstance(node, Part) and node.name not in parts:
                    self.bad(key, f"{key} writes the part {node.name!r}, which there is not", nearest(node.name, parts))

    def _slot(self, text: Any, key: str, known: Collection[str] = ()) -> Slot:
        if not isinstance(text, str):
            self.bad(key, f"{key} is {type(text).__name__}, not text")
            return ()
        try:
            return parse_slot(text, known)
        except BadSlot as error:
            self.bad(key, f"{key}: {error}", error.instead)
            return ()

    def _text(self, table: Mapping[str, Any], key: str) -> str:
        if not isinstance(table[key], str):
            self.bad(key, f"{key} is {type(table[key]).__name__}, not text")
        return str(table[key])

    def _list(self, table: Mapping[str, Any], key: str) -> tuple[str, ...]:
        value = table[key]
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            self.bad(key, f"{key} is no list of texts", f'Write {key} = ["…"].')
            return ()
        return tuple(value)

    def _fields(self, value: Any, key: str, needed: Collection[str], known: Collection[str]) -> Mapping[str, Any] | None:
        if not isinstance(value, Mapping):
            self.bad(key, f"{key} is no table")
            return None
        for name in value:
            if name not in known:
                self.bad(f"{key}.{name}", f"{key} has the key {name!r}, which it does not know", nearest(name, known))
                return None
        if missing := [name for name in needed if name not in value]:
            self.bad(key, f"{key} lacks {', '.join(missing)}")
            return None
        return value

    def _date(self, value: Any) -> DateRule | None:
        known = ("format", "default", "weekdays", "months")
        if value is None or (found := self._fields(value, "date", ("format", "default"), known)) is None:
            return None
        lists = {key: tuple(found[key]) for key in ("weekdays", "months") if key in found}
        rule = DateRule(str(found["format"]), str(found["default"]), **lists)
        try:
            printed(rule, None)
        except (KeyError, ValueError, IndexError) as error:
            self.bad(
                "date", f"date cannot be printed: {error}", 'Write it as in { format = "%d %b %Y", default = "2024-07-26" }.'
            )
            return None
        return rule

    def _thinking(self, value: Any) -> Thinking | None:
        known = ("open", "close", "history", "inline")
        if value is None or (found := self._fields(value, "thinking", ("open", "close"), known)) is None:
            return None
        if found.get("history", "drop") not in ("drop", "keep", "never"):
            self.bad("thinking.history", f"thinking.history is {found['history']!r}", 'Write "drop", "keep" or "never".')
        if not isinstance(found.get("inline", True), bool):
            self.bad("thinking.inline", f"thinking.inline is {found['inline']!r}, neither true nor false")
        return Thinking(**found)

    def _channels(self, value: Any) -> Channels | None:
        if value is None or (found := self._fields(value, "channels", _CHANNEL_KEYS, _CHANNEL_KEYS)) is None:
            return None
        for key in ("ends", "thoughts"):
            if not isinstance(found[key], list) or not found[key]:
                self.bad(f"channels.{key}", f"channels.{key} is no list of texts", f'Write {key} = ["…"].')
                return None
        ends, thoughts = tuple(found["ends"]), tuple(found["thoughts"])
        return Channels(str(found["mark"]), str(found["body"]), ends, str(found["recipient"]), thoughts)

    def _media(self, value: Any) -> MediaForm | None:
        if value is None or (found := self._fields(value, "media", (), (*_MEDIA_KINDS, "first"))) is None:
            return None
        texts = {kind: found[kind] for kind in _MEDIA_KINDS if kind in found}
        if not texts or not all(isinstance(text, str) and text for text in texts.values()):
            self.bad("media", "media names no text for a kind", 'Write it as in { image = "<image>" }.')
            return None
        return MediaForm(texts, found.get("first", False) is True)

    def _refusals(self, value: Any) -> tuple[Refusal, ...]:
        rules = []
        for item in value if isinstance(value, list) else [value]:
            found = self._fields(item, "refuse", ("when", "because"), ("when", "because", "instead"))
            if found is None:
                continue
            try:
                check_condition(found["when"])
            except BadSlot as error:
                self.bad("refuse", f"refuse: {error}", error.instead)
            rules.append(Refusal(**found))
        return tuple(rules)


def _writes_thoughts(reply: Slot) -> bool:
    return any(path[0] in ("thought", "thinking") for path in paths_in(reply))


def named_tool_table(file: TomlFile, name: str) -> Mapping[str, Any] | None:
    """``[syntax.NAME]`` of this file, else of another file of its folder."""
    if name in file.tables.get("syntax", {}):
        table: Mapping[str, Any] = file.tables["syntax"][name]
        return table
    path = file_with(file.path.parent, f"syntax.{name}")
    return None if path is None or path == file.path else named_tool_table(read_toml(path), name)


def _identity(table: Mapping[str, Any]) -> str:
    told = {key: value for key, value in table.items() if key not in ("summary", "models", "source", "notes", "differs")}
    return hashlib.sha256(json.dumps([LANGUAGE, told], sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def split_wanted(wanted: str) -> tuple[Path, str] | None:
    """``./acme.toml:table`` → path and table; ``None`` for a name that is no file."""
    path, _, table = wanted.partition(".toml")
    if wanted == path or (table and not table.startswith(":")):
        return None
    return Path(f"{path}.toml"), table[1:]


def check_date(day: str) -> str:
    """``day`` if it is a date like 2024-07-26.

    :raises TunesmithError: it is not.
    """
    from datetime import date

    try:
        return date.fromisoformat(day).isoformat()
    except ValueError as error:
        raise TunesmithError(f"{day!r} is no date.", "Write it as in 2024-07-26.") from error
