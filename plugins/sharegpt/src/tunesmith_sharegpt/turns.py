"""What both formats share: reading a row's list of messages as any kind of example, and the order that roles must have."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from tunesmith.contracts import BadRow, Format
from tunesmith.data.columns import MediaSupply, Row, kind_of
from tunesmith.data.conversation import Call, Conversation, Example, Feedback, Part, Preference, Prompt, Result, Text, Turn

READ = ("messages", "system", "tools", "images", "videos", "audios")
ASKING = ("user", "tool")
#: Who may speak after whom; several tools may answer one after the other.
NEXT: Mapping[str, tuple[str, ...]] = {"assistant": ASKING, "user": ("assistant",), "tool": ("assistant", "tool")}


class MessagesFormat(Format):
    """Messages in ``messages``; a system message at their head wins over the column ``system``."""

    def __init__(self, columns: Mapping[str, str | None], tags: Mapping[str, str]) -> None:
        self._columns = columns
        self._tags = tags

    @abstractmethod
    def turns(self, messages: Sequence[Mapping[str, Any]], column: str, media: MediaSupply) -> list[Turn]:
        """Messages as turns, in whatever order they are.

        :raises BadRow: one of them cannot be read.
        """

    def read(self, row: Mapping[str, Any], kind: str) -> Example:
        """Read a row as one of four kinds."""
        columns = Row(row, self._columns)
        media = MediaSupply(columns)
        talk = self._talk(columns, media)
        if kind == "preference":
            ends_with(talk.turns, ASKING, self._name("messages"))
            chosen, rejected = (self._answers(columns, column, media) for column in ("chosen", "rejected"))
            media.check_used()
            return Preference(talk, chosen, rejected)
        media.check_used()
        if kind == "prompt":
            asked = talk.turns[:-1] if talk.turns[-1].role == "assistant" else talk.turns
            return Prompt(Conversation(asked, talk.tools), {**_answer_given(talk), **columns.rest(*READ)})
        ends_with(talk.turns, ("assistant",), self._name("messages"))
        return Feedback(talk, columns.flag("kto_tag")) if kind == "feedback" else talk

    def _name(self, column: str) -> str:
        return self._columns.get(column) or column

    def _talk(self, row: Row, media: MediaSupply) -> Conversation:
        column = self._name("messages")
        turns = named(self.turns(_messages(row.items("messages", needed=True), column), column, media))
        system = row.text("system")
        if turns[0].role == "system":
            turns, head = turns[1:], turns[:1]
        else:
            head = [Turn("system", (Text(system),))] if system else []
        check_order(turns, column, len(head))
        return Conversation((*head, *turns), row.tools())

    def _answers(self, row: Row, column: str, media: MediaSupply) -> tuple[Turn, ...]:
        name, value = self._name(column), row.get(column, needed=True)
        messages = row.items(column, needed=True) if isinstance(value, list) else [value]
        turns = self.turns(_messages(messages, name), name, media)
        if turns[0].role != "assistant":
            raise BadRow(f"the answer is said by {turns[0].role}, not by the assistant", name)
        check_order([Turn("user", ()), *turns], name, -1)
        ends_with(turns, ("assistant",), name)
        return tuple(turns)


def _messages(messages: Sequence[Any], column: str) -> Sequence[Mapping[str, Any]]:
    for number, message in enumerate(messages):
        if not isinstance(message, Mapping):
            raise BadRow(f"this message is {kind_of(message)}, not an object", f"{column}[{number}]")
    return messages


def check_order(turns: Sequence[Turn], column: str, skipped: int = 0) -> None:
    """Users or tools and the assistant must take turns, a user first.

    :param skipped: how many messages stand before ``turns``, for the number in the message.
    :raises BadRow: they do not.
    """
    if not turns:
        raise BadRow("nobody says anything", column)
    if turns[0].role == "assistant":
        raise BadRow("wrong order of roles: a conversation begins with the user, not the assistant", f"{column}[{skipped}]")
    before = "assistant"
    for number, turn in enumerate(turns):
        if turn.role not in NEXT[before]:
            due = " or ".join(NEXT[before])
            raise BadRow(f"wrong order of roles: after {before} comes {due}, not {turn.role}", f"{column}[{number + skipped}]")
        before = turn.role
    if turns[0].role != "user":
        raise BadRow("a conversation begins with the user, not with a tool's result", f"{column}[{skipped}]")


def named(turns: Sequence[Turn]) -> list[Turn]:
    """Turns whose tool results bear the name and id of the call they answer, which some templates write beside them.

    The call is found by its id; without ids the first result answers the first call, and so on.
    """
    calls: list[Call] = []
    done: list[Turn] = []
    for turn in turns:
        if turn.role == "assistant":
            calls = [part for part in turn.parts if isinstance(part, Call)]
        done.append(replace(turn, parts=tuple(_named(part, calls) for part in turn.parts)) if turn.role == "tool" else turn)
    return done


def _named(part: Part, calls: list[Call]) -> Part:
    """The result with its name; the call it answers is taken off ``calls``."""
    if not isinstance(part, Result) or not calls:
        return part
    answered = next((call for call in calls if call.id is not None and call.id == part.id), calls[0])
    calls.remove(answered)
    return replace(part, name=part.name or answered.name, id=part.id or answered.id)


def ends_with(turns: Sequence[Turn], roles: tuple[str, ...], column: str) -> None:
    """The last turn must be of one of ``roles``.

    :raises BadRow: it is not.
    """
    last = turns[-1].role
    if last not in roles:
        reason = (
            "there is no answer: the last turn is of the " if "assistant" in roles else "the prompt ends with a turn of the "
        )
        raise BadRow(reason + last, column)


def _answer_given(talk: Conversation) -> dict[str, Any]:
    """What the data answers to a prompt, for rewards to compare with."""
    return {"response": talk.turns[-1].text} if talk.turns[-1].role == "assistant" else {}
