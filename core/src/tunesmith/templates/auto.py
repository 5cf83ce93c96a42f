"""``template: auto``: conversations rendered by the tokenizer's own chat template.

What is learned is found by the template's generation marks, else by prefixes: the text up to a reply, rendered as a prompt,
must begin the whole text. Answers that the template writes otherwise once turns follow them are told by number, so that each
gets an example of its own; where nothing tells, the turn is refused by name. Never is everything learned, and never nothing.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import Any

from tunesmith.contracts import Renderer, RewrittenReplies
from tunesmith.data.conversation import Call, Conversation, Media, Part, Piece, Rendered, Result, Text, Thought, Turn
from tunesmith.errors import TunesmithError
from tunesmith.templates.atoms import common_atoms
from tunesmith.templates.model import Thinking, ToolTable
from tunesmith.templates.parse import LANGUAGE
from tunesmith.templates.reasoning import check_source, told_by, variables
from tunesmith.templates.sandbox import CLOSE_MARK, OPEN_MARK, Refused, run
from tunesmith.templates.thinking import read_back
from tunesmith.templates.tokenizer_facts import TokenizerFacts
from tunesmith.templates.tools import parse_calls

#: What templates that ask for the day are told when the run names none.
DEFAULT_DAY = "2024-07-26"
#: The end of an answer, in characters, in which its stop token is looked for; some templates write another token after it.
_TAIL = 64
#: Stands for an answer where only the place of one is looked for.
_NOBODYS_WORDS = "\ue0f4"
_THINK = Thinking("<think>", "</think>")
_INSTEAD = "Name the model's template (tunesmith template list), or leave the turn out of what is learned."


@dataclass(frozen=True)
class _Span:
    """One learned stretch, ``[start, end)``."""

    start: int
    end: int
    weight: float


class AutoRenderer(Renderer):
    """Renders by the chat template of a tokenizer's files.

    :param options: what the run says: ``default_system``, ``enable_thinking``, ``effort``, ``preserve_thinking``, ``date``.
    :param find_reader: finds a renderer that writes answers alike, to read them back by (:mod:`tunesmith.templates.likeness`).
    """

    name = "auto"

    def __init__(
        self,
        facts: TokenizerFacts,
        options: Mapping[str, Any],
        find_reader: Callable[[AutoRenderer], Renderer | None] | None = None,
    ) -> None:
        if facts.chat_template is None:
            raise TunesmithError(
                f"The tokenizer in {facts.folder} brings no chat template.",
                "Name one: template: NAME (tunesmith template list)",
            )
        self.source = facts.chat_template
        check_source(self.source, "reasoning_effort", options.get("effort"))
        self.find_reader = find_reader
        self.facts = facts
        self.options = dict(options)
        self.day = self.options.get("date") or DEFAULT_DAY
        self.fingerprint = hashlib.sha256(
            json.dumps([LANGUAGE, self.source, sorted(self.options.items()), facts.bos, facts.eos], default=str).encode()
        ).hexdigest()
        self.stop = self._stops()

    # -- text --------------------------------------------------------------------------------------------------------

    def render(self, conversation: Conversation, *, generation_prompt: bool = False) -> Rendered:
        """Render every turn; see :meth:`tunesmith.contracts.Renderer.render`."""
        if told := told_by(conversation, self.source):
            other = copy(self)
            other.options = {**self.options, **told}
            return other.render(replace(conversation, thinking=None, effort=None), generation_prompt=generation_prompt)
        turns, messages, marked = self._written(conversation, generation_prompt)
        text, marks = without_marks(marked)
        if marks:
            spans = list(self._by_marks(turns, messages, conversation.tools, text, marks))
            without = {at: f"is written without its {lost}" for at, turn in _learned(turns) if (lost := _lost(turn, text))}
        else:
            spans, without = self._by_prefix(turns, messages, conversation.tools, text)
        if not generation_prompt:
            self._check_places(turns, without, added=len(turns) - len(conversation.turns))
        end = "" if generation_prompt else self._missing_end(turns[-1], text, spans)
        return Rendered(tuple(self._pieces(text, spans, turns)), end=end)

    def _missing_end(self, turn: Turn, text: str, spans: Sequence[_Span]) -> str:
        """The token that ends the last answer, where the template's text has none."""
        if turn.role != "assistant" or turn.loss_weight == 0 or not self.stop or not spans:
            return ""
        said = text[spans[-1].start : spans[-1].end]
        return "" if not said or any(stop in said[-_TAIL:] for stop in self.stop) else self.stop[0]

    def text_of(self, conversation: Conversation, *, generating: bool = False) -> str:
        """The text alone, where nothing is to be learned from it.

        :raises TunesmithError: the template refuses the conversation, or leaves a part of it out.
        """
        return without_marks(self._written(conversation, generating)[2])[0]

    def _written(self, conversation: Conversation, generating: bool) -> tuple[list[Turn], list[dict[str, Any]], str]:
        turns = self._turns(conversation)
        error: Refused | None = None
        for shape in (dict, str):
            messages = [message_of(turn, number, shape) for number, turn in enumerate(turns, start=1)]
            try:
                marked = self._run(messages, conversation.tools, generating)
            except Refused as refused:
                error = error or refused
                continue
            self._check_whole(turns, conversation.tools, marked)
            return turns, messages, marked
        place = self._place_of_refusal(turns, conversation.tools)
        raise TunesmithError(f"{place} the tokenizer's own template refuses: {error}") from error

    def _turns(self, conversation: Conversation) -> list[Turn]:
        turns = list(conversation.turns)
        if not turns:
            raise TunesmithError("The conversation is empty.")
        system = self.options.get("default_system")
        if system and turns[0].role != "system":
            turns.insert(0, Turn("system", (Text(system),)))
        return turns

    def _run(self, messages: Sequence[Mapping[str, Any]], tools: Sequence[Any], generating: bool) -> str:
        known: dict[str, Any] = {"bos_token": self.facts.bos or "", "eos_token": self.facts.eos or ""}
        known |= variables(self.options)
        return run(self.source, messages, self.day, tools=list(tools) or None, add_generation_prompt=generating, **known)

    def _place_of_refusal(self, turns: Sequence[Turn], tools: Sequence[Any]) -> str:
        """The first turn up to which the template says no."""
        for end in range(1, len(turns) + 1):
            try:
                self._run([message_of(turn, at, dict) for at, turn in enumerate(turns[:end], start=1)], tools, False)
            except Refused:
                return f"Turn {end} ({turns[end - 1].role}):"
        return f"Turn {len(turns)} ({turns[-1].role}):"

    def _check_whole(self, turns: Sequence[Turn], tools: Sequence[Any], text: str) -> None:
        """Published templates leave out in silence what they have no place for; that is no text to learn from."""
        for tool in tools:
            name = tool.get("function", tool).get("name", "")
            if name not in text:
                raise TunesmithError(f"The tokenizer's own template leaves out the tool {name!r}.", _INSTEAD)
        for at, turn in enumerate(turns):
            whole = turn.role == "system" or (turn.role == "assistant" and at == len(turns) - 1)
            lost = _lost(turn, text) if whole else _lost_call(turn, text)
            if lost:
                place = f"Turn {at + 1} ({turn.role})"
                raise TunesmithError(f"{place}: the tokenizer's own template leaves out its {lost}.", _INSTEAD)

    # -- what is learned ---------------------------------------------------------------------------------------------

    def _by_marks(
        self,
        turns: Sequence[Turn],
        messages: list[dict[str, Any]],
        tools: Sequence[Any],
        text: str,
        marks: Sequence[tuple[int, int]],
    ) -> Iterator[_Span]:
        """What stands between marks, less what generation starts from and what follows the token that ends it."""
        answers = [at for at, turn in enumerate(turns) if turn.role == "assistant"]
        weights = [turns[at].loss_weight for at in answers]
        marks = marks if len(marks) == len(answers) else _joined(marks)
        if len(marks) != len(answers):
            if len(set(weights)) > 1:
                raise TunesmithError("The template's generation marks do not tell its replies apart.", _INSTEAD)
            for start, end in marks:
                yield _Span(start, self._end(text[:end], start), weights[0] if weights else 0.0)
            return
        for at, weight, (start, end) in zip(answers, weights, marks, strict=True):
            prompt = self._prompt(messages[:at], tools) if weight > 0 else ""
            if text.startswith(prompt) and start < len(prompt) <= end:
                start = len(prompt)
            yield _Span(start, self._end(text[:end], start), weight)

    def _prompt(self, messages: list[dict[str, Any]], tools: Sequence[Any]) -> str:
        """What an answer is generated from, nothing where the template refuses to ask for one here."""
        try:
            return without_marks(self._run(messages, tools, True))[0]
        except Refused:
            return ""

    def _by_prefix(
        self, turns: Sequence[Turn], messages: list[dict[str, Any]], tools: Sequence[Any], text: str
    ) -> tuple[list[_Span], dict[int, str]]:
        """The stretch of each learned answer that is written as it would be if nothing followed it; why others have none."""
        spans, without = [], {}
        for at, turn in _learned(turns):
            try:
                start, end = self._place(turn, messages[: at + 1], tools, text)
                spans.append(_Span(start, end, turn.loss_weight))
            except Refused as error:
                without[at] = str(error)
        return spans, without

    @staticmethod
    def _check_places(turns: Sequence[Turn], without: Mapping[int, str], added: int) -> None:
        """Every learned answer must have its place; ``added`` turns stand before those of the conversation."""
        if not without:
            return
        at = max(without)
        if at < len(turns) - 1:
            at = min(without)
        message = f"Turn {at - added + 1} (assistant) {without[at]}."
        if at == len(turns) - 1:
            raise TunesmithError(message, _INSTEAD)
        raise RewrittenReplies(message, _INSTEAD, frozenset(at - added for at in without))

    def _place(self, turn: Turn, messages: list[dict[str, Any]], tools: Sequence[Any], text: str) -> tuple[int, int]:
        prompt = self._run(messages[:-1], tools, True)
        so_far = self._run(messages, tools, False)
        before = self._run(messages[:-1], tools, False) if len(messages) > 1 else ""
        start = len(prompt) if so_far.startswith(prompt) else self._head(messages, len(messages) - 1, tools, so_far, prompt)
        if lost := _lost(turn, so_far[start:]):
            raise Refused(f"is written without its {lost}")
        if not text.startswith(so_far):
            raise Refused("is written otherwise once other turns follow it, so that it cannot be learned in its place")
        shared = common_atoms(before, prompt)
        if start < shared or (prompt[shared:].strip() and not prompt[shared:start].strip()):
            raise Refused("does not begin as the prompt before it ends, so that it cannot be told where it begins")
        return start, self._end(so_far, start)

    def _head(self, messages: list[dict[str, Any]], at: int, tools: Sequence[Any], so_far: str, prompt: str) -> int:
        """How far an answer that is not written as its prompt ends shares its beginning, none of its own words included."""
        other = {"role": "assistant", "content": _NOBODYS_WORDS}
        head = common_atoms(so_far, self._run([*messages[:at], other], tools, False))
        return min(head, common_atoms(so_far, prompt))

    def _end(self, text: str, start: int) -> int:
        """Where the answer at the end of a text stops: white space after the stop token is none of it."""
        bare = text.rstrip()
        return max(start, len(bare) if bare.endswith(self.stop) else len(text))

    def _pieces(self, text: str, spans: Sequence[_Span], turns: Sequence[Turn]) -> Iterator[Piece]:
        content = list(self._forgeries(text, turns))
        stretches = [*((span.start, span.end) for span in spans), *content]
        for start, end in pairwise(sorted({0, len(text), *(at for stretch in stretches for at in stretch)})):
            weight = next((span.weight for span in spans if span.start <= start < span.end), 0.0)
            typed = any(one <= start < two for one, two in content)
            yield Piece(text[start:end], not typed, weight)

    def _forgeries(self, text: str, turns: Sequence[Turn]) -> Iterator[tuple[int, int]]:
        """Where somebody typed what reads like a special token: those stretches are content, and stay plain text."""
        at = 0
        for number, turn in enumerate(turns, start=1):
            for words in _typed(turn):
                found = text.find(words.strip(), at)
                at = found + len(words.strip()) if found >= 0 else at
                if not any(token in words for token in self.facts.special):
                    continue
                if found < 0:
                    why = "holds the text of a special token where the tokenizer's own template changes it"
                    raise TunesmithError(f"Turn {number} ({turn.role}) {why}.", "Take the token's text out of the data.")
                yield found, at

    # -- answers -----------------------------------------------------------------------------------------------------

    def _stops(self) -> tuple[str, ...]:
        """The token that the template ends a reply with, then the tokenizer's own."""
        stops = [self.facts.eos] if self.facts.eos else []
        probe = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "ANSWER"}]
        try:
            tail = without_marks(self._run(probe, (), False))[0].rpartition("ANSWER")[2].strip()
        except Refused:
            tail = ""
        ends = [token for token in self.facts.special if tail.startswith(token)]
        return tuple(dict.fromkeys([*sorted(ends, key=len, reverse=True)[:1], *stops]))

    @cached_property
    def _reader(self) -> Renderer | None:
        """Looked for when the first answer is read, and only where the template knows of calls or reasoning."""
        knows = "tool" in self.source or "think" in self.source
        return self.find_reader(self) if knows and self.find_reader is not None else None

    def parse_reply(self, text: str, tools: Sequence[Mapping[str, Any]] = ()) -> Turn:
        """Generated text → an assistant turn, as the template that writes alike reads it, else by the tags that the
        template's own text mentions."""
        for stop in self.stop:
            text = text.removesuffix(stop)
        if self._reader is not None:
            return self._reader.parse_reply(text, tools)
        thought, words = read_back(text, _THINK if "</think>" in self.source else None)
        words, calls = parse_calls(words, _TAGGED if "<tool_call>" in self.source else None)
        parts: list[Part] = [Thought(thought)] if thought else []
        if words or not (calls or parts):
            parts.append(Text(words))
        return Turn("assistant", (*parts, *calls))

    def chat_template(self) -> str:
        """The tokenizer's template, unchanged."""
        return self.source

    def ollama(self) -> str:
        """Not to be had.

        :raises TunesmithError: always: Jinja cannot be turned into Ollama's language.
        """
        raise TunesmithError("The tokenizer's own template cannot be written for Ollama.", "Name the model's template.")


_TAGGED = ToolTable(source={"call": '<tool_call>\n{"name": "{call.name}", "arguments": {call.arguments|json}}\n</tool_call>'})


def _learned(turns: Sequence[Turn]) -> Iterator[tuple[int, Turn]]:
    """The answers that are learned, with their indexes."""
    return ((at, turn) for at, turn in enumerate(turns) if turn.role == "assistant" and turn.loss_weight > 0)


def _lost(turn: Turn, text: str) -> str:
    """What of a turn a text leaves out; nothing where all of it is there."""
    for part in turn.parts:
        if isinstance(part, Thought) and part.text.strip() not in text:
            return "reasoning"
        if isinstance(part, Text):
            thought, words = read_back(part.text, _THINK)
            if words.strip() not in text:
                return "words"
            if thought not in text:
                return "reasoning"
    return _lost_call(turn, text)


def _lost_call(turn: Turn, text: str) -> str:
    return "call" if any(isinstance(part, Call) and part.name not in text for part in turn.parts) else ""


def without_marks(marked: str) -> tuple[str, list[tuple[int, int]]]:
    """A text without generation marks, and where they stood."""
    if OPEN_MARK not in marked:
        return marked, []
    text, spans = "", []
    while OPEN_MARK in marked:
        before, _, rest = marked.partition(OPEN_MARK)
        inside, _, marked = rest.partition(CLOSE_MARK)
        text += before
        spans.append((len(text), len(text) + len(inside)))
        text += inside
    return text + marked, spans


def _joined(marks: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Stretches that touch as one."""
    joined: list[tuple[int, int]] = []
    for start, end in marks:
        if joined and joined[-1][1] == start:
            start = joined.pop()[0]
        joined.append((start, end))
    return joined


def _typed(turn: Turn) -> Iterable[str]:
    for part in turn.parts:
        if isinstance(part, Text | Thought):
            yield part.text
        elif isinstance(part, Result):
            yield part.content


def message_of(turn: Turn, number: int, arguments: type = dict) -> dict[str, Any]:
    """A turn as published templates expect it; arguments of calls as objects, or with ``str`` as JSON text.

    :raises TunesmithError: it holds media.
    """
    if any(isinstance(part, Media) for part in turn.parts):
        raise TunesmithError(f"Turn {number} ({turn.role}) holds media, and text templates have no place for it.")
    if turn.role == "tool":
        results = [part for part in turn.parts if isinstance(part, Result)]
        if len(results) != 1:
            raise TunesmithError(f"Turn {number} (tool) holds {len(results)} results.", "Give every result a turn of its own.")
        named = {key: value for key, value in (("name", results[0].name), ("tool_call_id", results[0].id)) if value}
        return {"role": "tool", "content": results[0].content, **named}
    message: dict[str, Any] = {"role": turn.role, "content": turn.text}
    if thought := "\n".join(part.text for part in turn.parts if isinstance(part, Thought)):
        message["reasoning_content"] = thought
    if calls := [part for part in turn.parts if isinstance(part, Call)]:
        message["tool_calls"] = [_call(call, arguments) for call in calls]
    return message


def _call(call: Call, arguments: type) -> dict[str, Any]:
    written = dict(call.arguments) if arguments is dict else json.dumps(dict(call.arguments), ensure_ascii=False)
    known = {"id": call.id} if call.id is not None else {}
    return {"type": "function", **known, "function": {"name": call.name, "arguments": written}}
