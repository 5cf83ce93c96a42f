"""The suite that every template runs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import pytest

from tunesmith import TemplateSpec
from tunesmith.data.conversation import Call, Conversation, Part, Rendered, Text, Thought, Turn
from tunesmith.errors import TunesmithError
from tunesmith.templates import renderer_for
from tunesmith.templates.lines import Line, fitting
from tunesmith.templates.render import DeclaredRenderer
from tunesmith.templates.samples import CLOCK, WEATHER
from tunesmith.testing.spec_check import spec_faults

#: Arguments that must come back from generated text unchanged.
ARGUMENTS: tuple[dict[str, Any], ...] = (
    {"place": "Oslo"},
    {"place": 'the "old" town,\nby the river', "days": 3},
    {"place": "北京 {braces}", "deep": {"list": [1, {"a": None}], "exact": True}},
)
_ASK = Turn("user", (Text("How is it in Oslo?"),))


class TemplateSuite:
    """That a template says what its goldens say, and keeps what every template promises.

    Set ``template`` to a spec, or to a file as in ``template: ./acme.toml:acme``, and ``goldens`` to a file with one golden a
    line: a line as ``tunesmith template render`` reads it, and what it must answer under ``expected``
    (``{"text": …, "learned": [[start, end], …]}``, or ``{"refused": true}``)::

        class TestAcme(TemplateSuite):
            template = str(FOLDER / "acme.toml")
            goldens = FOLDER / "tests" / "acme.jsonl"

    A golden may say ``"prefix": "why"`` where the published template itself writes a turn otherwise as a prompt.
    """

    template: ClassVar[TemplateSpec | str]
    goldens: ClassVar[Path]
    arguments: ClassVar[tuple[dict[str, Any], ...]] = ARGUMENTS
    """What calls are tried with."""
    ends_with_stop: ClassVar[bool] = True
    """A reply ends with a stop token of its own. A few families stop at what begins the next turn."""

    # -- what is under test ----------------------------------------------------------------------------------------

    @cached_property
    def renderer(self) -> DeclaredRenderer:
        """The template with nothing changed."""
        return renderer_for(self.template)

    @cached_property
    def lines(self) -> list[dict[str, Any]]:
        """The goldens."""
        return [json.loads(line) for line in self.goldens.read_text(encoding="utf-8").splitlines() if line.strip()]

    def rendered(self) -> Iterator[tuple[Mapping[str, Any], Line, Rendered]]:
        """Every golden that the template expresses."""
        for golden in self.lines:
            if not golden["expected"].get("refused"):
                line = line_of(golden)
                fitted = fitting(self.renderer, line)
                yield golden, line, fitted.render(line.conversation, generation_prompt=line.generation_prompt)

    def say(self, *parts: Part, **options: Any) -> str:
        """What a model would have to generate to answer with ``parts``; calls are of declared tools where it declares any."""
        renderer = self.renderer.with_options(**options)
        tools = (WEATHER, CLOCK) if renderer.can["tools"] and any(isinstance(part, Call) for part in parts) else ()
        whole = renderer.render(Conversation((_ASK, Turn("assistant", parts)), tools))
        said = whole.text[whole.learned[-1][0] : whole.learned[-1][1]]
        ends = [said.rfind(stop) for stop in renderer.stop if stop in said]
        return said[: max(ends)] if ends else said

    # -- goldens ---------------------------------------------------------------------------------------------------

    def test_its_spec_is_well_formed(self) -> None:
        """Name and summary are of the form that lists need."""
        if isinstance(self.template, TemplateSpec):
            faults = list(spec_faults(self.template))
            assert not faults, "\n".join(faults)
        assert self.renderer.stop

    def test_goldens_are_rendered_to_the_character(self) -> None:
        """Text and learned stretches."""
        assert self.lines, f"{self.goldens} is empty"
        for golden, line, rendered in self.rendered():
            assert rendered.text == golden["expected"]["text"]
            if not line.generation_prompt:
                assert [list(span) for span in rendered.learned] == golden["expected"]["learned"], rendered.text

    def test_what_it_cannot_express_is_refused(self) -> None:
        """With an error that says why, never cut in silence."""
        for golden in self.lines:
            if golden["expected"].get("refused"):
                line = line_of(golden)
                with pytest.raises(TunesmithError):
                    fitting(self.renderer, line).render(line.conversation, generation_prompt=line.generation_prompt)

    # -- promises --------------------------------------------------------------------------------------------------

    def test_a_prompt_begins_the_row_that_it_asks_for(self) -> None:
        """In text and in pieces, so that the ids of the one begin the ids of the other."""
        for golden, line, rendered in self.rendered():
            turns = line.conversation.turns
            if line.generation_prompt or turns[-1].role != "assistant" or "prefix" in golden:
                continue
            before = replace(line.conversation, turns=turns[:-1])
            prompt = fitting(self.renderer, line).render(before, generation_prompt=True)
            assert rendered.text.startswith(prompt.text), golden
            borders = set(_borders(rendered))
            assert set(_borders(prompt)) <= borders, golden

    def test_the_prompt_is_not_learned(self) -> None:
        """A reply's learned stretch begins no earlier than generation does."""
        for golden, line, rendered in self.rendered():
            turns = line.conversation.turns
            if not line.generation_prompt and turns[-1].role == "assistant" and "prefix" not in golden:
                before = replace(line.conversation, turns=turns[:-1])
                prompt = fitting(self.renderer, line).render(before, generation_prompt=True).text
                assert rendered.learned[-1][0] == len(prompt)

    def test_learned_stretches_end_with_a_stop_token(self) -> None:
        """Without it, a model never learns to stop."""
        if not self.ends_with_stop:
            pytest.skip("this family stops at what begins the next turn")
        for golden, line, rendered in self.rendered():
            for start, end in () if line.generation_prompt else rendered.learned:
                assert rendered.text[start:end].endswith(self.renderer.stop), golden

    def test_special_tokens_that_somebody_typed_stay_text(self) -> None:
        """They change nothing about which of the text is control."""
        for token in (*self.renderer.stop, self.renderer.bos, self.renderer.eos, "<|im_start|>system"):
            if token:
                plain, forged = (self._control(word) for word in ("x", f"x{token}x"))
                assert plain == forged, token

    def _control(self, word: str) -> list[str]:
        turns = (Turn("user", (Text(word),)), Turn("assistant", (Text(word),)))
        return [piece.text for piece in self.renderer.render(Conversation(turns)).pieces if piece.control]

    def test_weights_of_turns_count(self) -> None:
        """A turn of weight zero is seen and not learned, and the text does not change."""
        turns = (_ASK, Turn("assistant", (Text("Cold."),), 0.0), _ASK, Turn("assistant", (Text("Yes."),), 0.5))
        rendered = self.renderer.render(Conversation(turns))
        assert rendered.text == self.renderer.render(Conversation(tuple(replace(turn, weight=None) for turn in turns))).text
        assert len(rendered.learned) == 1
        assert {piece.weight for piece in rendered.pieces} == {0.0, 0.5}

    def test_words_come_back_from_generated_text(self) -> None:
        """As they went in."""
        for words in ("It is cold.", 'I would call find_weather with {"place": …', "{ } [ ] < >"):
            turn = self.renderer.parse_reply(self.say(Text(words)))
            assert turn.text == words
            assert not [part for part in turn.parts if isinstance(part, Call)]

    def test_calls_come_back_from_generated_text(self) -> None:
        """One, and several where the template writes several."""
        if not self.renderer.can["calls"]:
            pytest.skip("this template has no tools")
        for arguments in self.arguments:
            self._calls_come_back(Call("find_weather", arguments, "abcdefgh1"))
        try:
            self.say(Call("read_clock", {}, "abcdefgh1"), Call("find_weather", self.arguments[0], "abcdefgh2"))
        except TunesmithError:
            return
        self._calls_come_back(Call("read_clock", {}, "abcdefgh1"), Call("find_weather", self.arguments[0], "abcdefgh2"))

    def _calls_come_back(self, *calls: Call) -> None:
        text = self.say(*calls)
        found = [part for part in self.renderer.parse_reply(text).parts if isinstance(part, Call)]
        assert [(call.name, dict(call.arguments)) for call in found] == [(call.name, call.arguments) for call in calls], text

    def test_thoughts_come_back_from_generated_text(self) -> None:
        """Apart from the words."""
        if self.renderer.template.thinking is None:
            pytest.skip("this template has no reasoning")
        turn = self.renderer.parse_reply(self.say(Thought("It is winter."), Text("Cold.")))
        thoughts = [part.text for part in turn.parts if isinstance(part, Thought)]
        assert thoughts in ([], ["It is winter."])
        assert turn.text.strip() == "Cold."

    def test_thoughts_of_earlier_turns_are_treated_as_declared(self) -> None:
        """Dropped or kept, and kept by preserve_thinking wherever the template writes thoughts at all."""
        thinking = self.renderer.template.thinking
        if thinking is None:
            pytest.skip("this template has no reasoning")
        earlier = Turn("assistant", (Thought("OLD THOUGHT"), Text("Cold.")))
        conversation = Conversation((_ASK, earlier, _ASK))
        text = self.renderer.render(conversation, generation_prompt=True).text
        assert ("OLD THOUGHT" in text) == (thinking.history == "keep")
        kept = self.renderer.with_options(preserve_thinking=True).render(conversation, generation_prompt=True).text
        now = self.renderer.with_options(preserve_thinking=True).render(Conversation((_ASK, earlier))).text
        assert ("OLD THOUGHT" in kept) == ("OLD THOUGHT" in now)

    # -- exports ---------------------------------------------------------------------------------------------------

    def test_the_exported_chat_template_says_the_same(self) -> None:
        """Text of every golden, and what is refused."""
        pytest.importorskip("jinja2")
        source = self.renderer.chat_template()
        for golden in self.lines:
            expected = None if golden["expected"].get("refused") else golden["expected"]["text"]
            if golden.get("date") is None:
                assert jinja_text(source, golden) == expected, golden

    def test_its_marks_show_what_is_learned(self) -> None:
        """The generation marks of the exported chat template and the learned stretches agree, with thinking on and off too."""
        pytest.importorskip("jinja2")
        from tunesmith.templates.auto import without_marks

        source = self.renderer.chat_template()
        for golden in self.with_other_thinking():
            marks = without_marks(jinja_marked(source, golden) or "")[1]
            line = line_of(golden)
            learned = fitting(self.renderer, line).render(line.conversation).learned
            assert tuple(mark for mark in marks if mark[0] < mark[1]) == learned, golden

    def with_other_thinking(self) -> Iterator[dict[str, Any]]:
        """The rows among the goldens, and those of a template with reasoning once more with thinking on and off."""
        thinks = self.renderer.template.thinking is not None
        for golden in self.lines:
            if golden["expected"].get("refused") or golden.get("generation_prompt") or golden.get("date") is not None:
                continue
            yield golden
            yield from ({**golden, "enable_thinking": on} for on in ((True, False) if thinks else ()))

    def test_an_ollama_file_can_be_written_or_says_why_not(self) -> None:
        """With the stop tokens in it."""
        try:
            text = self.renderer.ollama()
        except TunesmithError:
            return
        assert text.startswith("TEMPLATE")
        assert all(f'PARAMETER stop "{stop}"' in text for stop in self.renderer.stop)

    def test_its_fingerprint_follows_what_changes_the_text(self) -> None:
        """A checkpoint must not resume with another text."""
        renderer = self.renderer
        assert renderer.fingerprint == renderer_for(self.template).fingerprint
        assert renderer.fingerprint != renderer.with_options(default_system="Be brief.").fingerprint


def line_of(golden: Mapping[str, Any]) -> Line:
    """The line that a golden is about."""
    return Line({key: value for key, value in golden.items() if key not in ("expected", "prefix")})


def jinja_marked(source: str, golden: Mapping[str, Any]) -> str | None:
    """What a chat template renders for a golden, generation marks included; ``None`` where it refuses."""
    from tunesmith.templates.auto import DEFAULT_DAY
    from tunesmith.templates.sandbox import Refused, run

    known = {key: golden[key] for key in ("enable_thinking", "preserve_thinking") if golden.get(key) is not None}
    generating = golden.get("generation_prompt", False)
    try:
        return run(
            source, golden["messages"], DEFAULT_DAY, tools=golden.get("tools"), add_generation_prompt=generating, **known
        )
    except Refused:
        return None


def jinja_text(source: str, golden: Mapping[str, Any]) -> str | None:
    """The same without marks."""
    from tunesmith.templates.auto import without_marks

    marked = jinja_marked(source, golden)
    return None if marked is None else without_marks(marked)[0]


def _borders(rendered: Rendered) -> Iterator[int]:
    at = 0
    for piece in rendered.pieces:
        at += len(piece.text)
        yield at
