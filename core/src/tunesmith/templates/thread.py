"""A conversation as templates see it: the system text apart, results in a row together, thoughts found, nothing lost.

What the template has no place for is refused here, by the number and role of its turn.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tunesmith.data.conversation import Call, Conversation, Media, Part, Result, Text, Thought, Turn
from tunesmith.errors import TunesmithError
from tunesmith.templates.media_marks import MARK
from tunesmith.templates.model import Template, Thinking
from tunesmith.templates.thinking import cut_off, split_inline


@dataclass(slots=True)
class Beat:
    """One stretch of a text: a turn, or all the results between two turns. ``number`` counts turns from 1."""

    role: str
    number: int
    weight: float
    content: str = ""
    thought: str = ""
    calls: list[dict[str, Any]] = field(default_factory=list)
    results: list[dict[str, Any]] = field(default_factory=list)
    media: tuple[Media, ...] = ()

    @property
    def place(self) -> str:
        """How error messages name it."""
        return f"Turn {self.number} ({self.role})"


@dataclass(slots=True)
class Thread:
    """A whole conversation. ``system`` is ``None`` where there is neither a given nor a default one; ``system_until`` is the
    number of the last turn that it was gathered from."""

    system: str | None
    system_given: bool
    tools: Sequence[Mapping[str, Any]]
    beats: list[Beat]
    system_until: int = 1


def thread_of(
    conversation: Conversation, thinking: Thinking | None, default_system: str | None, gather: str | None = None
) -> Thread:
    """Read a conversation.

    :param gather: joins all system turns to one system text; without it, only one at the beginning is it.
    :raises TunesmithError: a turn holds what its role cannot say; the message names it.
    """
    turns = conversation.turns
    searched = turns[:1] if gather is None else turns
    known = [(number, turn) for number, turn in enumerate(searched, start=1) if turn.role == "system"]
    system = (gather or "").join([_words(turn, number) for number, turn in known]) if known else default_system
    beats: list[Beat] = []
    for number, turn in enumerate(turns, start=1):
        if known and turn.role == "system" and (gather is not None or number == 1):
            continue
        beat = _READERS[turn.role](turn, number, thinking)
        if turn.role == "tool" and beats and beats[-1].role == "tool":
            _join(beats[-1], beat)
        else:
            beats.append(beat)
    _name_results(beats)
    return Thread(system, bool(known), conversation.tools, beats, known[-1][0] if known else 1)


def _join(first: Beat, second: Beat) -> None:
    if first.weight != second.weight:
        raise _refused(second, "has another weight than the results before it", "Give results in a row one weight.")
    first.results += second.results


def _words(turn: Turn, number: int) -> str:
    parts = turn.parts
    if len(parts) == 1 and type(parts[0]) is Text:
        return parts[0].text
    for part in parts:
        if not isinstance(part, Text):
            raise _wrong_part(part, turn.role, number)
    return turn.text


def _spoken(turn: Turn, number: int, thinking: Thinking | None) -> Beat:
    if turn.role == "user" and any(type(part) is Media for part in turn.parts):
        return _shown(turn, number)
    return Beat(turn.role, number, turn.loss_weight, _words(turn, number))


def _shown(turn: Turn, number: int) -> Beat:
    """A turn that holds media: :data:`MARK` stands for each of them in its words."""
    for part in turn.parts:
        if not isinstance(part, Text | Media):
            raise _wrong_part(part, turn.role, number)
    if MARK in turn.text:
        raise TunesmithError(f"Turn {number} ({turn.role}) holds the character U+FDD0, which no text may hold beside media.")
    content = "".join(part.text if isinstance(part, Text) else MARK for part in turn.parts)
    media = tuple(part for part in turn.parts if isinstance(part, Media))
    return Beat(turn.role, number, turn.loss_weight, content, media=media)


def _assistant(turn: Turn, number: int, thinking: Thinking | None) -> Beat:
    beat = Beat(turn.role, number, turn.loss_weight)
    if len(turn.parts) == 1 and type(turn.parts[0]) is Text:
        beat.content = turn.parts[0].text
    else:
        _take_parts(beat, turn.parts)
    if thinking is not None and thinking.history == "never":
        beat.thought, beat.content = cut_off(beat.thought, beat.content, thinking)
    elif thinking is not None and thinking.inline and not beat.thought:
        beat.thought, beat.content = split_inline(beat.content, thinking)
    return beat


def _take_parts(beat: Beat, parts: Sequence[Part]) -> None:
    for part in parts:
        if isinstance(part, Text) and beat.calls and part.text.strip():
            raise _refused(beat, "says something after a call", "Put the words before the calls, or after the result.")
        if isinstance(part, Text):
            beat.content += part.text
        elif isinstance(part, Thought) and (beat.content or beat.calls):
            raise _refused(beat, "thinks after it spoke", "Put the thought first.")
        elif isinstance(part, Thought):
            beat.thought += ("\n" if beat.thought else "") + part.text
        elif isinstance(part, Call):
            beat.calls.append({"name": part.name, "arguments": part.arguments, "id": part.id})
        else:
            raise _wrong_part(part, beat.role, beat.number)


def _tool(turn: Turn, number: int, thinking: Thinking | None) -> Beat:
    beat = Beat(turn.role, number, turn.loss_weight)
    for part in turn.parts:
        if isinstance(part, Result):
            beat.results.append({"content": part.content, "name": part.name, "id": part.id})
        elif isinstance(part, Text):
            beat.results.append({"content": part.text, "name": None, "id": None})
        else:
            raise _wrong_part(part, turn.role, number)
    return beat


_READERS = {"system": _spoken, "user": _spoken, "assistant": _assistant, "tool": _tool}


def _wrong_part(part: Part, role: str, number: int) -> TunesmithError:
    if isinstance(part, Media):
        what = f"Turn {number} ({role}) holds media ({part.kind}), which only a user's turn can."
        return TunesmithError(what, "Move them into the turn of the user.")
    return TunesmithError(f"Turn {number} ({role}) holds a {type(part).__name__.lower()}, which that role cannot say.")


def _refused(beat: Beat, what: str, instead: str = "") -> TunesmithError:
    return TunesmithError(f"{beat.place} {what}.", instead)


def _name_results(beats: Sequence[Beat]) -> None:
    """Fill in which tool a result is from: by its id, else by its place among the calls it answers."""
    names: dict[str, str] = {}
    calls: list[dict[str, Any]] = []
    for beat in beats:
        if beat.calls:
            calls = beat.calls
            names.update((call["id"], call["name"]) for call in calls if call["id"] is not None)
        for at, result in enumerate(beat.results):
            if result["name"] is None:
                result["name"] = names.get(result["id"]) or (calls[at]["name"] if at < len(calls) else None)


def check_fits(thread: Thread, template: Template, can: Mapping[str, bool], generating: bool) -> None:
    """Raise unless the template has a place for everything in the thread.

    :raises TunesmithError: names the turn, and what to do about it.
    """
    name = template.name
    if not thread.beats and not thread.system_given:
        raise TunesmithError("The conversation is empty.")
    if thread.system is not None and not can["system"]:
        raise TunesmithError(f"Turn 1 (system): the template {name!r} has no place for a system text.", "Leave it out.")
    if thread.tools and not can["tools"]:
        raise TunesmithError(f"The conversation has tools, and the template {name!r} cannot declare any.", _TOOLS_HINT)
    for beat in thread.beats:
        if beat.calls or beat.thought or beat.role in ("tool", "system"):
            _check_beat(beat, template, can, generating)
        if beat.media:
            _check_media(beat, template)
    if template.order == "alternate":
        _check_order(thread.beats, name)


_TOOLS_HINT = "Pick a template that can, or a generic way to write tools with tool_format."


def _check_beat(beat: Beat, template: Template, can: Mapping[str, bool], generating: bool) -> None:
    name = template.name
    if beat.calls and not can["calls"]:
        raise _refused(beat, f"calls a tool, and the template {name!r} cannot write calls", _TOOLS_HINT)
    if beat.role == "tool" and not can["results"]:
        raise _refused(beat, f"is a result, and the template {name!r} has no place for one", _TOOLS_HINT)
    if beat.role == "system" and not can["later_system"]:
        raise _refused(beat, f"comes late: the template {name!r} takes a system text only at the start")
    if not beat.thought or template.thinking is not None:
        return
    if not generating and beat.weight > 0:
        why = f"has reasoning to learn, and the template {name!r} has no form for it"
        hint = f'extends = "{name}", a thinking table, and {{thinking}} in the reply'
        raise _refused(beat, why, f"Pick a reasoning template, or write one: {hint}.")
    beat.content = f"<think>\n{beat.thought}\n</think>\n\n{beat.content}"
    beat.thought = ""


def _check_media(beat: Beat, template: Template) -> None:
    form = template.media
    for media in beat.media:
        if form is None or media.kind not in form.texts:
            what = (
                f"{beat.place} holds media ({media.kind}), and the template {template.name!r} has no place for {media.kind}s."
            )
            raise TunesmithError(what, "Pick the template of a model that can see them." if form is None else "")
    if form is not None and form.first:
        beat.content = MARK * len(beat.media) + beat.content.replace(MARK, "")


def _check_order(beats: Sequence[Beat], name: str) -> None:
    for at, beat in enumerate(_speakers(beats)):
        wanted = "assistant" if at % 2 else "user"
        if beat.role != wanted:
            why = f"comes where the template {name!r} wants the {wanted}"
            raise _refused(beat, why, "Its turns are user, assistant, user, assistant …")


def _speakers(beats: Sequence[Beat]) -> Iterator[Beat]:
    return (beat for beat in beats if beat.role != "tool" and not beat.calls)
