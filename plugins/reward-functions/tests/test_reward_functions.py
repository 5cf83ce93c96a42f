"""That every reward function scores as it says."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from tunesmith import RewardSpec, TunesmithError
from tunesmith.data.conversation import Conversation, Text, Thought, Turn
from tunesmith.testing import RewardSuite
from tunesmith.testing.hand_plan import hand_plan
from tunesmith.testing.spec_check import load
from tunesmith_reward_functions.matching import final_number
from tunesmith_reward_functions.options import ExactOptions, FormatOptions, LengthOptions, NumberOptions, SchemaOptions
from tunesmith_reward_functions.plugin import EXACT, FORMAT, LENGTH, NUMBER, SCHEMA

ASKED = Conversation((Turn("user", (Text("2 + 2?"),)),))
WHOLE = {"type": "object", "properties": {"sum": {"type": "integer"}}, "required": ["sum"]}


def said(text: str, thought: str = "") -> Turn:
    return Turn("assistant", ((Thought(thought),) if thought else ()) + (Text(text),))


def cases(*answers: tuple[Turn, Mapping[str, Any], float]) -> tuple[Any, ...]:
    return tuple((ASKED, *answer) for answer in answers)


class TestFormat(RewardSuite):
    spec = FORMAT
    options = (FormatOptions(),)
    cases = cases(
        (said("4", "two and two"), {}, 1.0),
        (said("<think>two\nand two</think>\n4"), {}, 1.0),
        (said("4"), {}, 0.0),
        (said("<think></think> 4"), {}, 0.0),
        (said("<think>two and two</think>"), {}, 0.0),
        (said("<think>a</think> b <think>c</think> d"), {}, 0.0),
    )


class TestPattern(RewardSuite):
    spec = FORMAT
    options = (FormatOptions(r"\d+"),)
    cases = cases((said("44"), {}, 1.0), (said("44 "), {}, 0.0))


class TestLength(RewardSuite):
    spec = LENGTH
    options = (LengthOptions(2, 4),)
    cases = cases(
        (said(""), {}, 0.0),
        (said("one"), {}, 0.5),
        (said("one two three", "and a thought that does not count at all"), {}, 1.0),
        (said("1 2 3 4 5 6 7 8"), {}, 0.5),
    )


class TestExact(RewardSuite):
    spec = EXACT
    options = (ExactOptions(),)
    cases = cases(
        (said(" to  be\n"), {"answer": "to be"}, 1.0),
        (said("To be"), {"answer": "to be"}, 0.0),
        (said("4"), {"answer": 4}, 1.0),
    )


class TestExactWithoutCase(RewardSuite):
    spec = EXACT
    options = (ExactOptions("response", True),)
    cases = cases((said("STRASSE"), {"response": "straße"}, 1.0), (said("to"), {"response": "too"}, 0.0))


class TestNumber(RewardSuite):
    spec = NUMBER
    options = (NumberOptions(),)
    cases = cases(
        (said("First 3, then 1,234.50."), {"answer": "#### 1234.5"}, 1.0),
        (said(r"It is \boxed{-7}, not 8."), {"answer": -7}, 1.0),
        (said("no idea"), {"answer": 0}, 0.0),
        (said("4 or 5"), {"answer": "4"}, 0.0),
    )


class TestSchema(RewardSuite):
    spec = SCHEMA
    options = (SchemaOptions(),)
    cases = cases(
        (said('{"sum": 4}'), {"json_schema": WHOLE}, 1.0),
        (said('```json\n{"sum": 4}\n```'), {"json_schema": json.dumps(WHOLE)}, 1.0),
        (said('{"sum": "four"}'), {"json_schema": WHOLE}, 0.5),
        (said("four"), {"json_schema": WHOLE}, 0.0),
        (said("[" * 100_000), {"json_schema": WHOLE}, 0.0),
    )


@pytest.mark.parametrize(
    ("text", "number"),
    [("x = 2e-3", 0.002), ("−3 degrees", -3.0), ("about .5", 0.5), ("v2 of a3b", None), ("1,000,000 apples", 1e6), ("", None),
     (r"\boxed{x} is 4", 4.0), ("from 3-4", 4.0), ("1.5.", 1.5)],
)  # fmt: skip
def test_the_number_that_a_text_comes_to(text: str, number: float | None) -> None:
    assert final_number(text) == number


def score(spec: RewardSpec, options: object, row: Mapping[str, Any], text: str = "4") -> list[float]:
    scores: list[float] = load(spec)(hand_plan(options)).score([ASKED], [said(text)], [row])
    return scores


@pytest.mark.parametrize(
    ("spec", "options", "row", "words"),
    [
        (EXACT, ExactOptions(), {"output": "4"}, "no column answer"),
        (NUMBER, NumberOptions(), {"answer": "four"}, "holds no number"),
        (SCHEMA, SchemaOptions(), {"answer": "four"}, "no column json_schema"),
        (SCHEMA, SchemaOptions(), {"json_schema": {"type": "nonsense"}}, "no JSON Schema"),
        (SCHEMA, SchemaOptions(), {"json_schema": {"$ref": "http://127.0.0.1:9/a.json"}}, "which is not in it"),
    ],
)
def test_what_a_row_lacks_is_said(spec: RewardSpec, options: object, row: Mapping[str, Any], words: str) -> None:
    with pytest.raises(TunesmithError, match=words):
        score(spec, options, row)


def test_a_schema_can_be_a_file(tmp_path: Path) -> None:
    file = tmp_path / "schema.json"
    file.write_text(json.dumps(WHOLE))
    assert score(SCHEMA, SchemaOptions(str(file)), {}, '{"sum": 1}') == [1.0]
    file.write_text("{")
    with pytest.raises(TunesmithError, match="no JSON Schema"):
        score(SCHEMA, SchemaOptions(str(file)), {})
