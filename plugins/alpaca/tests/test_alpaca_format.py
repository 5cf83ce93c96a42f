"""Rows of one exchange become examples, or are refused by column."""

from __future__ import annotations

from typing import Any

import pytest
from tunesmith.contracts import BadRow
from tunesmith.data.conversation import Conversation, Document, Feedback, Media, Preference, Prompt, Text, Thought, Turn
from tunesmith_alpaca.format import AlpacaFormat
from tunesmith_alpaca.plugin import COLUMNS

ROW = {"instruction": "Add.", "input": "2 and 2", "output": "4"}
ALL = COLUMNS | {"system": "system", "history": "history", "tools": "tools", "images": "images", "kto_tag": "good"}


def read(row: dict[str, Any], kind: str = "conversation", **columns: str | None) -> Any:
    return AlpacaFormat(COLUMNS | columns, {}).read(row, kind)


def user(text: str) -> Turn:
    return Turn("user", (Text(text),))


def said(text: str) -> Turn:
    return Turn("assistant", (Text(text),))


def test_instruction_and_input_are_what_the_user_says() -> None:
    assert read(ROW) == Conversation((user("Add.\n2 and 2"), said("4")))
    assert read({"instruction": "Hi", "output": "Hello"}) == Conversation((user("Hi"), said("Hello")))
    assert read({"instruction": "", "input": "Hi", "output": "Hello"}).turns[0] == user("Hi")


def test_history_and_system_come_first() -> None:
    row = ROW | {"system": "Be brief.", "history": [["Hi", "Hello"], ["How?", "Well."]]}
    talk = read(row, system="system", history="history")
    assert [turn.role for turn in talk.turns] == ["system", "user", "assistant", "user", "assistant", "user", "assistant"]
    assert (talk.turns[0].text, talk.turns[4]) == ("Be brief.", said("Well."))


def test_columns_that_are_not_declared_are_not_read() -> None:
    assert len(read(ROW | {"system": "Be brief."}).turns) == 2


def test_other_kinds() -> None:
    assert read(ROW, "document") == Document("Add.\n2 and 2")
    row = {"instruction": "Add.", "chosen": "4", "rejected": "5"}
    assert read(row, "preference") == Preference(Conversation((user("Add."),)), (said("4"),), (said("5"),))
    for good in (True, False):
        assert read(ROW | {"good": good}, "feedback", kto_tag="good") == Feedback(read(ROW), good)
    assert read(ROW | {"level": 3}, "prompt") == Prompt(Conversation((user("Add.\n2 and 2"),)), {"output": "4", "level": 3})


def test_a_thought_at_the_beginning_of_an_answer_is_a_part_of_its_own() -> None:
    row = {"instruction": "Add.", "output": "<think>\nEasy.\n</think>\n\n4"}
    assert read(row).turns[1].parts == (Thought("Easy."), Text("4"))


def test_media_take_the_places_of_their_placeholders() -> None:
    row = {"instruction": "<image>What is on <image>?", "output": "A fox.", "images": ["a.png", "b.png"]}
    parts = read(row, images="images").turns[0].parts
    assert parts == (Media("image", "a.png"), Text("What is on "), Media("image", "b.png"), Text("?"))
    assert read(row).turns[0] == user("<image>What is on <image>?")


BAD: dict[str, tuple[dict[str, Any], str, str, str]] = {
    "no instruction column": ({"output": "4"}, "conversation", "instruction", "not there"),
    "blank instruction": ({"instruction": " ", "output": "4"}, "conversation", "instruction", "no instruction"),
    "number as instruction": ({"instruction": 7, "output": "4"}, "conversation", "instruction", "a number, not text"),
    "number as input": ({"instruction": "Hi", "input": 7, "output": "4"}, "conversation", "input", "a number, not text"),
    "no answer column": ({"instruction": "Add."}, "conversation", "output", "not there"),
    "no answer": ({"instruction": "Add.", "output": ""}, "conversation", "output", "empty"),
    "null answer": ({"instruction": "Add.", "output": None}, "conversation", "output", "empty"),
    "list as answer": ({"instruction": "Add.", "output": ["4"]}, "conversation", "output", "a list, not text"),
    "empty row": ({}, "conversation", "instruction", "not there"),
    "history of text": (ROW | {"history": "Hi"}, "conversation", "history", "text, not a list"),
    "history of singles": (ROW | {"history": [["Hi"]]}, "conversation", "history", "not [instruction, answer]"),
    "history of numbers": (ROW | {"history": [[1, 2]]}, "conversation", "history", "other than text"),
    "history without answer": (ROW | {"history": [["Hi", ""]]}, "conversation", "history", "no answer"),
    "system of the wrong type": (ROW | {"system": ["x"]}, "conversation", "system", "a list, not text"),
    "tools that are no JSON": (ROW | {"tools": "[{"}, "conversation", "tools", "no valid JSON"),
    "a tool without a name": (ROW | {"tools": [{"description": "x"}]}, "conversation", "tools", "a tool is"),
    "no rejected answer": ({"instruction": "Add.", "chosen": "4"}, "preference", "rejected", "not there"),
    "chosen of the wrong type": (
        {"instruction": "Add.", "chosen": {"value": "4"}, "rejected": "5"},
        "preference",
        "chosen",
        "an object",
    ),
    "no verdict": (ROW, "feedback", "good", "not there"),
    "a verdict that is none": (ROW | {"good": "perhaps"}, "feedback", "good", "not true or false"),
    "more placeholders than images": (
        {"instruction": "<image><image>", "output": "x", "images": ["a"]},
        "conversation",
        "instruction",
        "more",
    ),
    "more images than placeholders": (
        {"instruction": "Hi", "output": "x", "images": ["a"]},
        "conversation",
        "images",
        "no <image>",
    ),
    "an image that is no path": (
        {"instruction": "<image>", "output": "x", "images": [3]},
        "conversation",
        "images",
        "not a path",
    ),
    "a document without text": ({"instruction": ""}, "document", "instruction", "no instruction"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_row_names_its_column(name: str) -> None:
    row, kind, column, reason = BAD[name]
    with pytest.raises(BadRow) as caught:
        AlpacaFormat(ALL, {}).read(row, kind)
    assert caught.value.column == column
    assert reason in caught.value.reason
