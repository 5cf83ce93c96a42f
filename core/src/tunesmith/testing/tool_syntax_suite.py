"""The suite for tool syntaxes, whether written as a table or as a class."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import pytest

from tunesmith import ToolSyntaxSpec
from tunesmith.contracts import Renderer
from tunesmith.data.conversation import Call, Conversation, Text, Turn
from tunesmith.templates import renderer_for
from tunesmith.testing.spec_check import load, object_faults, spec_faults

PLAIN = """
[plain]
system = "<|system|>{system}\\n"
user = "<|user|>{content}\\n"
prompt = "<|assistant|>"
reply = "{content}<|end|>"
after = "\\n"
stop = ["<|end|>"]
"""

TOOLS: tuple[dict[str, Any], ...] = tuple(
    {
        "type": "function",
        "function": {
            "name": name,
            "description": f"What {name} does.",
            "parameters": {"type": "object", "properties": {"place": {"type": "string", "description": "Where."}}},
        },
    }
    for name in ("get_weather", "find_way")
)

#: Arguments that a syntax must bring back unchanged.
ARGUMENTS: tuple[dict[str, Any], ...] = (
    {"place": "Oslo"},
    {},
    {"place": 'the "old" town,\nby the river', "days": 3, "exact": True, "share": 0.5, "none": None},
    {"place": "北京", "nested": {"list": [1, {"deep": "{braces}"}], "tag": "</call>"}},
)


class ToolSyntaxSuite:
    """That tools are declared, and that calls and words come back from text as they went in.

    Set ``spec``. The syntax is tried in a plain template, the way ``tool_format: NAME`` uses it::

        class TestAngles(ToolSyntaxSuite):
            spec = ANGLES

    ``many_calls`` and ``beside_words`` say what the syntax cannot express; ``arguments`` replaces the arguments that calls
    are tried with.
    """

    spec: ClassVar[ToolSyntaxSpec]
    arguments: ClassVar[tuple[dict[str, Any], ...]] = ARGUMENTS
    many_calls: ClassVar[bool] = True
    """A turn may hold several calls."""
    beside_words: ClassVar[bool] = True
    """A turn may hold words before its calls."""

    @cached_property
    def syntax(self) -> Any:
        """The table or object behind the spec, as the host takes it."""
        found = load(self.spec)
        return found() if isinstance(found, type) else found

    @pytest.fixture
    def renderer(self, tmp_path: Path) -> Renderer:
        """A plain template that was given the syntax."""
        file = tmp_path / "plain.toml"
        file.write_text(PLAIN, encoding="utf-8")
        return renderer_for(file, tools=self.syntax)

    def reply(self, renderer: Renderer, *parts: Text | Call) -> str:
        """What a model would have to write to say ``parts``."""
        question = Turn("user", (Text("Well?"),))
        asked = renderer.render(Conversation((question,), TOOLS), generation_prompt=True).text
        whole = renderer.render(Conversation((question, Turn("assistant", parts)), TOOLS)).text
        assert whole.startswith(asked)
        return whole[len(asked) :].partition("<|end|>")[0]

    # -- tests -----------------------------------------------------------------------------------------------------

    def test_its_spec_is_well_formed(self) -> None:
        """The summary fits on a line, and what it loads has the verbs of a tool syntax or is a table of one."""
        faults = [*spec_faults(self.spec), *object_faults(self.spec)]
        assert not faults, "\n".join(faults)

    def test_every_tool_is_declared(self, renderer: Renderer) -> None:
        """Its name and what it is for stand in the text before the first turn's answer; without tools they do not."""
        question = Turn("user", (Text("Well?"),))
        declared = renderer.render(Conversation((question,), TOOLS), generation_prompt=True).text
        silent = renderer.render(Conversation((question,)), generation_prompt=True).text
        for tool in TOOLS:
            name = tool["function"]["name"]
            assert name in declared
            assert f"What {name} does." in declared
            assert name not in silent

    def test_a_call_comes_back_as_it_went_in(self, renderer: Renderer) -> None:
        """Name and arguments, whatever is in them."""
        for arguments in self.arguments:
            text = self.reply(renderer, Call("get_weather", arguments))
            turn = renderer.parse_reply(text)
            assert calls(turn) == [("get_weather", arguments)], text
            assert not turn.text.strip(), text

    def test_several_calls_come_back_in_order(self, renderer: Renderer) -> None:
        """Two calls of one turn."""
        if not self.many_calls:
            pytest.skip("this syntax holds one call in a turn")
        wanted = [("find_way", self.arguments[0]), ("get_weather", self.arguments[-1])]
        text = self.reply(renderer, *(Call(name, arguments) for name, arguments in wanted))
        assert calls(renderer.parse_reply(text)) == wanted, text

    def test_words_beside_a_call_stay_words(self, renderer: Renderer) -> None:
        """Both come back."""
        if not self.beside_words:
            pytest.skip("this syntax holds no words beside calls")
        text = self.reply(renderer, Text("Let me look."), Call("get_weather", self.arguments[0]))
        turn = renderer.parse_reply(text)
        assert turn.text.strip() == "Let me look."
        assert calls(turn) == [("get_weather", self.arguments[0])]

    def test_plain_words_are_no_call(self, renderer: Renderer) -> None:
        """Also where they hold braces or name a tool."""
        for words in ("It is cold.", 'I would call get_weather with {"place": …', "{ } [ ] < >"):
            turn = renderer.parse_reply(words)
            assert turn.text == words
            assert calls(turn) == []

    def test_text_that_breaks_off_is_read_without_complaint(self, renderer: Renderer) -> None:
        """A reply may end anywhere; what is no complete call stays words."""
        text = self.reply(renderer, Call("get_weather", self.arguments[0]))
        for end in range(len(text)):
            assert len(calls(renderer.parse_reply(text[:end]))) <= 1


def calls(turn: Turn) -> list[tuple[str, Any]]:
    """Name and arguments of each call of a turn."""
    return [(part.name, dict(part.arguments)) for part in turn.parts if isinstance(part, Call)]
