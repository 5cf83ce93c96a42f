"""Lines of a file → what to ask the engine."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from tunesmith.contracts import Sampling
from tunesmith.data.conversation import Conversation, Text, Turn
from tunesmith.data.openai_messages import BadMessage, conversation_from_openai
from tunesmith.errors import TunesmithError, nearest

FIELDS = frozenset(item.name for item in fields(Sampling)) - {"skip_special_tokens"}
#: Names of the chat completions API for the same things.
ALIASES = {"max_tokens": "max_new_tokens", "max_completion_tokens": "max_new_tokens"}
KNOWN = frozenset({"prompt", "system", "messages", "tools", "id", "custom_id", "adapter", "sampling", "body"})


@dataclass(frozen=True)
class Line:
    """A line as it stands in the file. ``number`` counts from 1; ``mark`` tells it and its settings from others."""

    number: int
    text: str
    mark: str


@dataclass(frozen=True)
class Question:
    """A line that was understood. ``columns``: what else stood in it, which goes into the answer's line."""

    conversation: Conversation
    sampling: Sampling
    adapter: str | None = None
    id: str | None = None
    columns: Mapping[str, Any] = field(default_factory=dict)


def lines_of(file: Path, settings: str) -> Iterator[Line]:
    """The lines of ``file`` that are not empty, one at a time. ``settings``: what the answers depend on besides.

    :raises TunesmithError: the file cannot be read.
    """
    try:
        with file.open("rb") as held:
            for number, raw in enumerate(held, start=1):
                if raw.strip():
                    mark = hashlib.sha256(settings.encode() + b"\n" + raw.strip()).hexdigest()[:16]
                    yield Line(number, raw.decode("utf-8", "surrogateescape"), mark)
    except OSError as error:
        raise TunesmithError(f"{file} cannot be read: {error.strerror}.", "Give a file of JSON lines.") from error


def question_of(line: Line, sampling: Sampling) -> Question:
    """Read ``{"prompt": …}`` or ``{"messages": […]}``, or a line of OpenAI's batch files, which holds the latter as ``body``.

    :raises TunesmithError: says what is wrong with it.
    """
    row = _row(line)
    if "body" in row:
        row = {**_batch_body(row["body"]), **{key: value for key, value in row.items() if key not in ("body", "method", "url")}}
    try:
        conversation = _conversation(row)
    except BadMessage as error:
        raise TunesmithError(str(error)) from error
    name = row.get("custom_id", row.get("id"))
    columns = {key: value for key, value in row.items() if key not in KNOWN}
    return Question(
        conversation,
        replace(sampling, **_sampling(row.get("sampling", {}))),
        _text(row, "adapter"),
        None if name is None else str(name),
        columns,
    )


def _row(line: Line) -> dict[str, Any]:
    try:
        row = json.loads(line.text.encode("utf-8", "surrogateescape").decode("utf-8"))
    except ValueError as error:
        raise TunesmithError(f"The line is no JSON: {error}") from error
    if not isinstance(row, dict):
        raise TunesmithError("The line is no JSON object.", 'Write {"prompt": "…"} or {"messages": […]}.')
    return row


def _batch_body(body: Any) -> dict[str, Any]:
    """The body of a request to the chat completions API: what is said, and how to sample."""
    if not isinstance(body, dict):
        raise TunesmithError("body is no JSON object.")
    said = {key: body[key] for key in ("messages", "tools") if key in body}
    sampling = {key: value for key, value in body.items() if key not in (*said, "model")}
    if sampling.get("temperature") == 0:  # OpenAI's way to say it
        sampling = {**sampling, "temperature": 1.0, "do_sample": False}
    return {**said, "sampling": sampling}


def _conversation(row: Mapping[str, Any]) -> Conversation:
    if ("prompt" in row) == ("messages" in row):
        raise TunesmithError("The line has to hold either prompt or messages.", 'Write {"prompt": "…"} or {"messages": […]}.')
    if "messages" in row:
        found = conversation_from_openai(row["messages"], row.get("tools"))
        if not found.turns or found.turns[-1].role not in ("user", "tool"):
            raise TunesmithError(
                "The last message is not a user's or a tool's.", "Leave out the answer that is to be generated."
            )
        return found
    system, prompt = _text(row, "system"), _text(row, "prompt")
    turns = [Turn("system", (Text(system),))] if system else []
    asked = conversation_from_openai([], row.get("tools"))
    return Conversation((*turns, Turn("user", (Text(prompt or ""),))), asked.tools)


def _text(row: Mapping[str, Any], key: str) -> str | None:
    value = row.get(key)
    if value is not None and not isinstance(value, str):
        raise TunesmithError(f"{key} is {value!r}, not a text.")
    return value


def _sampling(given: Any) -> dict[str, Any]:
    """Fields of :class:`Sampling`, with the types that they have."""
    if not isinstance(given, dict):
        raise TunesmithError("sampling is no JSON object.", 'Write "sampling": {"temperature": 0.5}.')
    found = {}
    for name, value in given.items():
        known = ALIASES.get(name, name)
        if known not in FIELDS:
            raise TunesmithError(f"sampling has no field {name!r}.", nearest(name, FIELDS) or "")
        found[known] = _READ.get(known, _number)(value, name)
    return found


def _number(value: Any, name: str) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TunesmithError(f"{name} is {value!r}, not a number.")
    return value


def _whole(value: Any, name: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TunesmithError(f"{name} is {value!r}, not a whole number.")
    return value


def _switch(value: Any, name: str) -> bool:
    if not isinstance(value, bool):
        raise TunesmithError(f"{name} is {value!r}, neither true nor false.")
    return value


def _stops(value: Any, name: str) -> tuple[str, ...]:
    words = [value] if isinstance(value, str) else value
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise TunesmithError(f"{name} is {value!r}, neither a text nor a list of texts.")
    return tuple(words)


def _bias(value: Any, name: str) -> tuple[tuple[int, float], ...]:
    try:
        return tuple((int(id_), float(bias)) for id_, bias in value.items())
    except (AttributeError, TypeError, ValueError) as error:
        raise TunesmithError(f"{name} is {value!r}, not an object of token ids and numbers.") from error


def _schema(value: Any, name: str) -> str:
    return value if isinstance(value, str) else json.dumps(value)


_READ: Mapping[str, Callable[[Any, str], Any]] = {
    **dict.fromkeys(("max_new_tokens", "top_k", "num_beams", "seed", "logprobs"), _whole),
    "do_sample": _switch,
    "stop": _stops,
    "logit_bias": _bias,
    "schema": _schema,
}
