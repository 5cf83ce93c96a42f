"""What a format needs to read a row: typed columns, and the parts that text, tool calls, thoughts and media become.

Everything that is wrong with a row is a :class:`~tunesmith.contracts.BadRow` that names the column.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from tunesmith.contracts import BadRow
from tunesmith.data.conversation import Call, Media, MediaKind, Part, Text, Thought, Turn

MEDIA_COLUMNS: Mapping[MediaKind, str] = {"image": "images", "video": "videos", "audio": "audios"}
PLACEHOLDER = re.compile(r"<(image|video|audio)>")
THOUGHT = re.compile(r"\s*<think>(.*?)</think>", re.DOTALL)
TRUE, FALSE = ("true", "1"), ("false", "0")


@dataclass(frozen=True, slots=True)
class Row:
    """A dataset's row, read by what its columns are for (``"prompt"``) rather than by what they are called.

    ``names`` maps the one to the other; ``None`` stands for a column that the dataset does not have.
    """

    values: Mapping[str, Any]
    names: Mapping[str, str | None]

    def get(self, column: str, *, needed: bool = False) -> Any:
        """The value, or ``None`` where there is none.

        :raises BadRow: it is needed and not there.
        """
        name = self.names.get(column)
        value = None if name is None else self.values.get(name)
        if value is None and needed:
            self.check_there(column)
            raise BadRow("this column is empty", name)
        return value

    def check_there(self, column: str) -> None:
        """Make sure that the row has the column, be it empty.

        :raises BadRow: it has not.
        """
        name = self.names.get(column)
        if name not in self.values:
            raise BadRow("this column is not there", name or column)

    def text(self, column: str, *, needed: bool = False) -> str:
        """A string; empty where there is none.

        :raises BadRow: it is something else, or needed and blank.
        """
        value = self.get(column, needed=needed)
        if value is None:
            return ""
        if not isinstance(value, str):
            raise BadRow(f"this column holds {kind_of(value)}, not text", self.names[column])
        if needed and not value.strip():
            raise BadRow("this column is empty", self.names[column])
        return value

    def items(self, column: str, *, needed: bool = False) -> Sequence[Any]:
        """A list; empty where there is none.

        :raises BadRow: it is something else, or needed and empty.
        """
        value = self.get(column, needed=needed)
        if value is None or value == "":
            value = ()
        if not isinstance(value, (list, tuple)):
            raise BadRow(f"this column holds {kind_of(value)}, not a list", self.names[column])
        if needed and not value:
            raise BadRow("this column is empty", self.names[column])
        return value

    def flag(self, column: str) -> bool:
        """A yes or no that must be there: true, false, 1, 0, or these as words.

        :raises BadRow: it is something else.
        """
        value = self.get(column, needed=True)
        word = str(value).lower() if isinstance(value, (bool, int, str)) else ""
        if word not in TRUE + FALSE:
            raise BadRow(f"this column holds {kind_of(value)}, not true or false", self.names[column])
        return word in TRUE

    def tools(self) -> tuple[Mapping[str, Any], ...]:
        """The column ``tools``: a list of tool objects or its JSON text, each wrapped as the OpenAI API has it.

        :raises BadRow: it is neither.
        """
        value, name = self.get("tools"), self.names.get("tools")
        if isinstance(value, str):
            value = parse_json(value, name) if value.strip() else ()
        if value is None:
            return ()
        tools = [value] if isinstance(value, Mapping) else value
        if not isinstance(tools, (list, tuple)):
            raise BadRow(f"the tools are {kind_of(value)}, not a list", name)
        return tuple(_tool(tool, name) for tool in tools)

    def rest(self, *used: str) -> dict[str, Any]:
        """The columns of the row that are none of ``used``."""
        names = {self.names.get(column) for column in used}
        return {name: value for name, value in self.values.items() if name not in names}


@dataclass(slots=True)
class MediaSupply:
    """The media files of one row, handed out in order to the placeholders ``<image>``, ``<video>`` and ``<audio>``."""

    row: Row
    left: dict[MediaKind, list[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for kind, column in MEDIA_COLUMNS.items():
            name = self.row.names.get(column)
            if name is None:
                continue
            files = [self.row.get(column)] if isinstance(self.row.get(column), str) else self.row.items(column)
            if files:
                self.left[kind] = [_path(file, name) for file in files]

    def parts(self, text: str, column: str | None) -> tuple[Part, ...]:
        """Text with its placeholders replaced. Where the row has no files of a kind, the placeholder is plain text.

        :raises BadRow: there are more placeholders than files.
        """
        if not self.left or "<" not in text:
            return (Text(text),)
        return tuple(self._split(text, column))

    def _split(self, text: str, column: str | None) -> Iterator[Part]:
        at = 0
        for match in PLACEHOLDER.finditer(text):
            kind = cast(MediaKind, match[1])
            if kind in self.left:
                if match.start() > at:
                    yield Text(text[at : match.start()])
                yield self._next(kind, column)
                at = match.end()
        if at < len(text):
            yield Text(text[at:])

    def _next(self, kind: MediaKind, column: str | None) -> Media:
        if not self.left[kind]:
            raise BadRow(f"there are more <{kind}> placeholders than {MEDIA_COLUMNS[kind]}", column)
        return Media(kind, self.left[kind].pop(0))

    def check_used(self) -> None:
        """Make sure that every file found its placeholder.

        :raises BadRow: one did not.
        """
        for kind, files in self.left.items():
            if files:
                reason = f"{len(files)} {MEDIA_COLUMNS[kind]} have no <{kind}> placeholder in the text"
                raise BadRow(reason, self.row.names[MEDIA_COLUMNS[kind]])


# ---- turns -----------------------------------------------------------------------------------------------------------


def answer(text: str, column: str | None, weight: float | None = None) -> Turn:
    """An assistant's turn. A thought in ``<think>`` tags at its beginning becomes a part of its own.

    :raises BadRow: there is nothing in it.
    """
    if not text.strip():
        raise BadRow("there is no answer", column)
    return Turn("assistant", split_thought(text), weight)


def split_thought(text: str) -> tuple[Part, ...]:
    """Text as its thought, if it begins with one, and the words after it."""
    match = THOUGHT.match(text)
    if not match:
        return (Text(text),)
    words = text[match.end() :].lstrip("\n")
    return (Thought(match[1].strip("\n")), *([Text(words)] if words else []))


def calls(text: str, column: str | None, weight: float | None = None) -> Turn:
    """An assistant's turn that asks for tools: the JSON of one call or of a list of calls, after a thought if there is one.

    :raises BadRow: it is no such JSON.
    """
    match = THOUGHT.match(text)
    thought = (Thought(match[1].strip("\n")),) if match else ()
    plain = parse_json(text[match.end() :] if match else text, column)
    asked = tuple(call(item, column) for item in (plain if isinstance(plain, list) else [plain]))
    if not asked:
        raise BadRow("the list of tool calls is empty", column)
    return Turn("assistant", thought + asked, weight)


def call(plain: Any, column: str | None) -> Call:
    """One call: ``{"name": …, "arguments": {…} or its JSON text}``, bare or as ``{"function": …, "id": …}``.

    :raises BadRow: it is not.
    """
    inner = plain.get("function", plain) if isinstance(plain, Mapping) else None
    if not isinstance(inner, Mapping) or not isinstance(inner.get("name"), str):
        raise BadRow('a tool call is {"name": …, "arguments": {…}}', column)
    arguments = inner.get("arguments", {})
    if isinstance(arguments, str):
        arguments = parse_json(arguments, column) if arguments.strip() else {}
    if not isinstance(arguments, Mapping):
        raise BadRow(f"the arguments of the call {inner['name']!r} are {kind_of(arguments)}, not an object", column)
    return Call(inner["name"], arguments, plain.get("id"))


# ---- values ----------------------------------------------------------------------------------------------------------


def parse_json(text: str, column: str | None) -> Any:
    """The value that JSON text stands for.

    :raises BadRow: it stands for none.
    """
    try:
        return json.loads(text)
    except ValueError as error:
        raise BadRow(f"this is no valid JSON: {error}", column) from error


def kind_of(value: object) -> str:
    """The type of a value in JSON's words."""
    words = {type(None): "nothing", bool: "true or false", int: "a number", float: "a number", str: "text", list: "a list"}
    return "an object" if isinstance(value, Mapping) else words.get(type(value), type(value).__name__)


def fill(value: Any, words: Mapping[str, str]) -> Any:
    """``value`` with ``{{word}}`` replaced in every string of it."""
    if isinstance(value, str):
        for word, text in words.items():
            value = value.replace("{{" + word + "}}", text)
        return value
    if isinstance(value, Mapping):
        return {key: fill(item, words) for key, item in value.items()}
    return [fill(item, words) for item in value] if isinstance(value, list) else value


def _tool(tool: Any, column: str | None) -> Mapping[str, Any]:
    function = tool.get("function", tool) if isinstance(tool, Mapping) else None
    if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
        raise BadRow('a tool is {"name": …, "description": …, "parameters": {…}}', column)
    wrapped: Mapping[str, Any] = tool if "function" in tool else {"type": "function", "function": tool}
    return wrapped


def _path(file: Any, column: str | None) -> str:
    if not isinstance(file, str) or not file:
        raise BadRow(f"a media file is {kind_of(file)}, not a path", column)
    return file
