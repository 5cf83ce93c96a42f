"""Rows of the shape that Stanford's Alpaca data made common: one exchange to a row, earlier ones in ``history``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tunesmith.contracts import BadRow, Format
from tunesmith.data.columns import MediaSupply, Row, answer, kind_of
from tunesmith.data.conversation import Conversation, Document, Example, Feedback, Preference, Prompt, Text, Turn

READ = ("prompt", "query", "history", "system", "tools", "images", "videos", "audios")


class AlpacaFormat(Format):
    """Instruction and input, joined by a line break, are what the user says; output is the answer."""

    def __init__(self, columns: Mapping[str, str | None], tags: Mapping[str, str]) -> None:
        self._columns = columns

    def read(self, row: Mapping[str, Any], kind: str) -> Example:
        """Read a row as any of the five kinds."""
        return READERS[kind](Row(row, self._columns))


def _asked(row: Row) -> str:
    """Instruction and input; one of them may be missing, not both."""
    row.check_there("prompt")
    text = "\n".join(part for part in (row.text("prompt"), row.text("query")) if part)
    if not text.strip():
        raise BadRow("there is no instruction", row.names["prompt"])
    return text


def _prompt(row: Row, *answer: Turn) -> Conversation:
    """Everything up to the answer, and the answer if one is given."""
    media = MediaSupply(row)
    turns = [Turn("system", (Text(system),))] if (system := row.text("system")) else []
    for exchange in row.items("history"):
        turns += _exchange(exchange, row.names["history"], media)
    turns.append(Turn("user", media.parts(_asked(row), row.names["prompt"])))
    media.check_used()
    return Conversation((*turns, *answer), row.tools())


def _exchange(exchange: Any, column: str | None, media: MediaSupply) -> list[Turn]:
    if not isinstance(exchange, (list, tuple)) or len(exchange) != 2:
        raise BadRow(f"an exchange of the history is {kind_of(exchange)}, not [instruction, answer]", column)
    asked, said = exchange
    if not isinstance(asked, str) or not isinstance(said, str):
        raise BadRow("an exchange of the history holds something other than text", column)
    if not asked.strip():
        raise BadRow("an exchange of the history has no instruction", column)
    return [Turn("user", media.parts(asked, column)), answer(said, column)]


def _answer(row: Row, column: str) -> Turn:
    return answer(row.text(column, needed=True), row.names[column])


def _conversation(row: Row) -> Conversation:
    row.check_there("prompt")
    return _prompt(row, _answer(row, "response"))


def _preference(row: Row) -> Preference:
    return Preference(_prompt(row), (_answer(row, "chosen"),), (_answer(row, "rejected"),))


def _feedback(row: Row) -> Feedback:
    return Feedback(_conversation(row), row.flag("kto_tag"))


def _document(row: Row) -> Document:
    return Document(_asked(row))


def _extras(row: Row) -> Prompt:
    return Prompt(_prompt(row), row.rest(*READ))


READERS: Mapping[str, Callable[[Row], Example]] = {
    "conversation": _conversation,
    "preference": _preference,
    "feedback": _feedback,
    "document": _document,
    "prompt": _extras,
}
