"""The suite for tools that a model may call."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, ClassVar

import pytest

from tunesmith import ToolSpec
from tunesmith.contracts import MISTAKES, Tool
from tunesmith.plan import Plan
from tunesmith.spec import options_of
from tunesmith.testing.hand_plan import hand_plan
from tunesmith.testing.spec_check import load, option_faults, spec_faults

#: Arguments of a call, the row's other columns, and what the tool must say.
Call = tuple[Mapping[str, Any], Mapping[str, Any], str]


class ToolSuite:
    """That a tool says what is expected of it, and turns down what it cannot do in words for the model.

    Set ``spec``, ``cases``, and calls that are ``mistakes``::

        class TestClock(ToolSuite):
            spec = CLOCK
            cases = (({"zone": "UTC"}, {"now": 0}, "1970-01-01 00:00"),)
            mistakes = ({}, {"zone": "nowhere"})
    """

    spec: ClassVar[ToolSpec]
    options: ClassVar[tuple[object, ...]] = ()
    keys: ClassVar[Mapping[str, Any]] = {}
    cases: ClassVar[tuple[Call, ...]] = ()
    mistakes: ClassVar[tuple[Mapping[str, Any], ...]] = ()

    @property
    def plan(self) -> Plan:
        """A plan with the options of the suite."""
        return hand_plan(*self.options, picked={"tools": self.spec.name}, **self.keys)

    def tool(self) -> Tool:
        """A new tool, as each answer of a run gets one."""
        tool: Tool = load(self.spec)(self.plan)
        return tool

    def test_its_spec_is_well_formed(self) -> None:
        """The summary fits on a line; options are a frozen dataclass in which every key has help."""
        faults = [*spec_faults(self.spec), *option_faults(options_of(self.spec))]
        assert not faults, "\n".join(faults)

    def test_a_prompt_can_declare_it(self) -> None:
        """Its parameters are a JSON schema of an object, each with a type; what is required is among them."""
        schema = self.spec.parameters
        assert json.loads(json.dumps(self.spec.declaration)) == self.spec.declaration
        assert schema.get("type") == "object", "parameters are a schema of the type object"
        untyped = [
            name for name, one in schema.get("properties", {}).items() if not isinstance(one, Mapping) or "type" not in one
        ]
        assert not untyped, f"these parameters have no type: {untyped}"
        assert set(schema.get("required", ())) <= set(schema.get("properties", {})), "what is required is no parameter"

    def test_there_are_cases(self) -> None:
        """Nothing is proved without any."""
        assert self.cases, "give cases"
        known = set(self.spec.parameters.get("properties", {}))
        assert all(set(arguments) <= known for arguments, *_ in self.cases), "a case has arguments that are not declared"

    def test_it_says_what_is_expected(self) -> None:
        """To each case, in text."""
        for arguments, row, expected in self.cases:
            said = self.tool().call(arguments, row)
            assert isinstance(said, str), f"it says {said!r}, which is no text"
            assert said == expected

    def test_a_new_tool_remembers_nothing(self) -> None:
        """What one answer has asked is not known in another."""
        for _ in range(2):
            for arguments, row, expected in self.cases:
                assert self.tool().call(arguments, row) == expected

    def test_mistakes_are_told_in_words(self) -> None:
        """By an error that the model gets to read, rather than one that ends the run."""
        for arguments in self.mistakes:
            with pytest.raises(MISTAKES) as caught:
                self.tool().call(arguments, {})
            assert str(caught.value).strip(), f"{arguments} is turned down without a word"
