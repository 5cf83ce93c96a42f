"""The renderer of a declared template: the one object behind training text, chat, API and exported templates."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from tunesmith.contracts import Renderer, ToolSyntax
from tunesmith.data.conversation import Call, Conversation, Part, Piece, Rendered, Text, Thought, Turn
from tunesmith.errors import TunesmithError
from tunesmith.templates.atoms import common_atoms
from tunesmith.templates.channels import read_channels
from tunesmith.templates.conditions import predicate
from tunesmith.templates.dates import printed
from tunesmith.templates.model import SLOT_KEYS, If, Node, Slot, Template, ToolTable, Value, Words, values_in, writes
from tunesmith.templates.thinking import read_back
from tunesmith.templates.thread import Beat, Thread, check_fits, thread_of
from tunesmith.templates.tools import parse_calls, with_tools
from tunesmith.templates.writers import Parts, Writer, WriterSet, written


@dataclass(frozen=True)
class Options:
    """What a run may change about a template. ``None`` leaves the template's own.

    ``bos`` and ``eos`` are the tokenizer's; ``date`` is a day like 2024-07-26.
    """

    default_system: str | None = None
    enable_thinking: bool | None = None
    preserve_thinking: bool = False
    date: str | None = None
    bos: str | None = None
    eos: str | None = None


class DeclaredRenderer(Renderer):
    """Renders by a :class:`~tunesmith.templates.model.Template`.

    :param tools: a tool syntax that the user picked instead of the template's own.
    """

    def __init__(self, template: Template, options: Options | None = None, tools: ToolTable | ToolSyntax | None = None) -> None:
        self.generic = tools is not None and not any(writes(slot, "tools") for _, slot in template.slots())
        self.template = with_tools(template, tools) if tools is not None else template
        self.name = template.name
        self._writers = _Writers(self.template)
        self._set(options or Options())

    def _set(self, options: Options) -> None:
        template = self.template
        self.options = options
        self.eos = template.eos if options.eos is None else options.eos
        self.bos = template.bos if options.bos is None else options.bos
        self.stop = template.stop or (self.eos,)
        self.default_system = template.default_system if options.default_system is None else options.default_system
        self._base = {
            "bos": self.bos,
            "eos": self.eos,
            "date": printed(template.date, options.date),
            "thinking_on": options.enable_thinking is True,
            "thinking_off": options.enable_thinking is False,
            "preserve": options.preserve_thinking,
        }
        thinking = template.thinking
        self._thinking = thinking
        if thinking is not None and thinking.history == "never" and options.preserve_thinking:
            self._thinking = replace(thinking, history="keep", inline=True)
        self.fingerprint = self._fingerprint()

    def _fingerprint(self) -> str:
        tools = self.template.tools
        told: list[Any] = [self.template.identity, asdict(self.options), self.generic]
        kind = type(tools)
        told.append(dict(tools.source) if isinstance(tools, ToolTable) else f"{kind.__module__}.{kind.__qualname__}")
        return hashlib.sha256(json.dumps(told, sort_keys=True, ensure_ascii=False).encode()).hexdigest()

    @property
    def can(self) -> dict[str, bool]:
        """What the template has a place for: system, later_system, tools, calls, results."""
        return self._writers.can

    def with_options(self, **changes: Any) -> DeclaredRenderer:
        """The same template with other options; nothing is compiled again."""
        other = object.__new__(DeclaredRenderer)
        other.generic, other.template, other.name, other._writers = self.generic, self.template, self.name, self._writers
        other._set(replace(self.options, **changes))
        return other

    # -- text --------------------------------------------------------------------------------------------------------

    def render(self, conversation: Conversation, *, generation_prompt: bool = False) -> Rendered:
        """Render every turn; see :meth:`tunesmith.contracts.Renderer.render`."""
        thread = thread_of(conversation, self._thinking, self.default_system, self.template.gather)
        check_fits(thread, self.template, self._writers.can, generation_prompt)
        if self.generic and thread.tools:
            thread.system = self._declared(thread)
        return _Rendering(self._writers, self._base, thread, generation_prompt).rendered(self.stop)

    def _declared(self, thread: Thread) -> str:
        if not self._writers.can["system"]:
            raise TunesmithError(f"The template {self.name!r} has no place where tools could be declared.", "Leave them out.")
        declared = written(self._writers.declare, {**self._base, "tools": thread.tools, "system": thread.system})
        return "\n\n".join(text for text in (thread.system, declared) if text)

    def parse_reply(self, text: str, tools: Sequence[Mapping[str, Any]] = ()) -> Turn:
        """Generated text → an assistant turn; see :meth:`tunesmith.contracts.Renderer.parse_reply`."""
        for stop in self.stop:
            text = text.removesuffix(stop)
        text = text.removesuffix(self._writers.tail)
        thought, words, calls = self._parsed(text, tools)
        words = _without_first(words.strip() if calls or self._writers.trims else words, self._writers.leads)
        parts: list[Part] = [Thought(thought)] if thought else []
        if words or not (calls or parts):
            parts.append(Text(words))
        return Turn("assistant", (*parts, *calls))

    def _parsed(self, text: str, known: Sequence[Mapping[str, Any]]) -> tuple[str, str, tuple[Call, ...]]:
        template = self.template
        if template.channels is not None:
            return read_channels(text, template.channels)
        thought, words = read_back(text, template.thinking)
        tools = template.tools if not isinstance(template.tools, str) else None
        return thought, *parse_calls(words, tools, template.parts, known)

    # -- elsewhere ---------------------------------------------------------------------------------------------------

    def chat_template(self) -> str:
        """The template as Jinja; see :mod:`tunesmith.templates.jinja`."""
        from tunesmith.templates.jinja import to_jinja

        return to_jinja(self)

    def ollama(self) -> str:
        """The template for an Ollama Modelfile; see :mod:`tunesmith.templates.ollama`."""
        from tunesmith.templates.ollama import to_ollama

        return to_ollama(self)


class _Writers:
    """A template's slots as functions, with what it can express."""

    def __init__(self, template: Template) -> None:
        if isinstance(template.tools, str):
            raise TunesmithError(
                f"The template {template.name!r} writes tools as {template.tools!r}, a tool syntax that is not installed.",
                f"Write [syntax.{template.tools}] beside it in {template.where}, or install the plugin that has it.",
            )
        made = WriterSet(template.thinking, template.tools, template.parts)
        self.template = template
        self.slots: dict[str, Writer | None] = {key: made.writer(slot) if slot else None for key, slot in template.slots()}
        self.declare = made.writer((Value(("tools",)),))
        self.system_tools = writes(template.system, "tools")
        self.refuse = [(predicate(rule.when), rule) for rule in template.refuse]
        self.can = _abilities(template)
        self.trims = any(node.path == ("content",) and "trim" in node.filters for node in values_in(template.reply))
        self.leads = tuple(_leads(template.reply))
        self.tail = _tail(template)


def _abilities(template: Template) -> dict[str, bool]:
    def some(name: str) -> bool:
        return any(writes(getattr(template, key), name) for key in SLOT_KEYS)

    declares = template.tools is not None and (not isinstance(template.tools, ToolTable) or bool(template.tools.declare))
    calls = not isinstance(template.tools, ToolTable) or bool(template.tools.call)
    return {
        "system": some("system") or "system" in template.leaves_out,
        "tools": declares,
        "calls": template.tools is not None and calls and some("calls"),
        "results": bool(template.tool),
        "later_system": bool(template.later_system),
    }


def _leads(reply: Slot) -> Iterator[str]:
    """What a reply's form can put right before its words, or before the thought that comes before them."""
    before: Node | None = None
    for node in reply:
        if isinstance(node, If):
            for branch in node.branches:
                yield from _leads(branch.body)
        elif isinstance(node, Value) and node.path == ("content",) and before is not None:
            yield from _last_words(before)
        if not (isinstance(node, Value) and node.path == ("thinking",)):
            before = node


def _tail(template: Template) -> str:
    """The white space that a reply's form puts between its words and the token that ends it."""
    last = [node for node in template.reply if not _is_end(node, template.stop)][-1:]
    text = last[0].text if last and isinstance(last[0], Words) else ""
    for stop in template.stop:
        text = text.removesuffix(stop)
    return text if text.isspace() else ""


def _is_end(node: Node, stops: Sequence[str]) -> bool:
    """Whether a node writes the token that ends a text or a stop, or in some cases that and nothing else."""
    if isinstance(node, If):
        return all(_is_end(inner, stops) for branch in node.branches for inner in branch.body)
    if isinstance(node, Words):
        return node.text in stops
    return isinstance(node, Value) and node.path == ("eos",)


def _last_words(node: Node) -> Iterator[str]:
    if isinstance(node, Words):
        yield node.text
    elif isinstance(node, If):
        for branch in node.branches:
            yield from _last_words(branch.body[-1]) if branch.body else ()


def _without_first(words: str, leads: Sequence[str]) -> str:
    """The words without the one of ``leads`` that they begin with; white space before it may be gone already."""
    for lead in leads:
        for form in filter(None, (lead, lead.lstrip())):
            if words.startswith(form):
                return words[len(form) :]
    return words


class _Rendering:
    """One conversation being rendered."""

    def __init__(self, writers: _Writers, base: dict[str, Any], thread: Thread, generating: bool) -> None:
        self.writers = writers
        self.thread = thread
        self.generating = generating
        self.rewritten: set[int] = set()
        self.rows: list[tuple[list[str], bool, float]] = []
        self.base = base | {
            "system": thread.system,
            "system_given": thread.system_given,
            "tools": thread.tools,
            "generating": generating,
            "round": 0, "content": "", "thought": "", "role": "", "calls": (), "results": (), "opening": False, "last": False,
        }  # fmt: skip
        self.last_user, self.last_answer, self.last_words = len(thread.beats), -1, -1
        for at, beat in enumerate(thread.beats):
            if beat.role == "user":
                self.last_user = at
            elif beat.role == "assistant":
                self.last_answer = at
                self.last_words = self.last_words if beat.calls else at

    def rendered(self, stops: tuple[str, ...]) -> Rendered:
        self._write("prefix", self.base)
        if self.thread.system is not None or (self.thread.tools and self.writers.system_tools):
            self._write("system", self.base)
        beats, seen, end, start = self.thread.beats, set(), "", 0
        for at, beat in enumerate(beats):
            self.base["round"] += beat.role == "user"
            scope = self._scope(at, beat, beat.role not in seen)
            seen.add(beat.role)
            start = len(self.rows)
            self._beat(beat, scope)
        if self.generating:
            self._write("ending", self.base)
            self._prompt(seen)
        else:
            end = self._end(scope, stops, start) if beats else ""
            self._write("ending", self.base)
        pieces = [Piece("".join(texts), control, weight) for texts, control, weight in self.rows]
        return Rendered(tuple(pieces), (), end, frozenset(self.rewritten))

    def _end(self, scope: dict[str, Any], stops: tuple[str, ...], start: int) -> str:
        """The token that ends the last answer, where that was written without one; ``start``: its first row."""
        learned = [row for row in self.rows[start:] if row[2] > 0]
        if scope["role"] != "assistant" or not learned:
            return ""
        texts, control, _ = learned[-1]
        if control and any(stop in "".join(texts) for stop in stops):
            return ""
        writer = self.writers.slots["end"]
        return written(writer, scope) if writer is not None else stops[0]

    def _scope(self, at: int, beat: Beat | None, first: bool) -> dict[str, Any]:
        beats = self.thread.beats
        before = beats[at - 1].role if at else ""
        after = beats[at + 1].role if at + 1 < len(beats) else ""
        scope = dict(self.base)
        scope.update(
            first=first,
            opening=at == 0,
            last=at == len(beats) - 1,
            last_user=at == self.last_user,
            after_last_user=at > self.last_user,
            last_answer=at >= self.last_answer,
            answered=at < self.last_words,
            after_user=before == "user",
            after_assistant=before == "assistant",
            after_tool=before == "tool",
            before_user=after == "user",
            before_assistant=after == "assistant",
            before_tool=after == "tool",
            awaited=beat is None,
        )
        if beat is not None:
            self._fill(scope, beat)
        return scope

    def _fill(self, scope: dict[str, Any], beat: Beat) -> None:
        scope["role"], scope["content"] = beat.role, beat.content
        if beat.role == "assistant":
            thinking = self.writers.template.thinking
            history = "keep" if thinking is None else thinking.history
            shown = history == "keep" or scope["preserve"] or (history == "drop" and scope["after_last_user"])
            scope["thought"], scope["thought_given"] = beat.thought if shown else "", bool(beat.thought)
            scope["calls"], scope["many_calls"] = beat.calls, len(beat.calls) > 1
            scope["calls_without_ids"] = any(call["id"] is None for call in beat.calls)
        elif beat.role == "tool":
            scope["results"] = beat.results
            scope["results_without_ids"] = any(result["id"] is None for result in beat.results)

    def _beat(self, beat: Beat, scope: dict[str, Any]) -> None:
        for holds, rule in self.writers.refuse:
            if holds(scope):
                raise TunesmithError(f"{beat.place}: the template {self.writers.template.name!r} {rule.because}.", rule.instead)
        if beat.role == "assistant":
            self._answer(scope, beat)
        else:
            self._write({"system": "later_system"}.get(beat.role, beat.role), scope, beat.weight)

    def _answer(self, scope: dict[str, Any], beat: Beat) -> None:
        self._write("prompt", scope)
        reply: Parts = []
        writer = self.writers.slots["reply"]
        assert writer is not None
        writer(scope, reply)
        if beat.weight > 0 and (beat.number < self.thread.system_until or _is_lost(beat.thought, reply)):
            self.rewritten.add(beat.number - 1)
        if self.writers.slots["start"] is not None:
            reply = self._without_lead(reply, written(self.writers.slots["start"], scope))
        self._add(reply, beat.weight, border=True)
        if self.writers.slots["after"] is not None:
            self._write("after", scope, border=True)

    def _without_lead(self, reply: Parts, start: str) -> Parts:
        """Move what generation starts from out of the reply, as far as the reply begins with it."""
        text = "".join(part for part, _ in reply)
        shared = common_atoms(text, start)
        lead: Parts = []
        while shared and reply:
            words, control = reply[0]
            lead.append((words[:shared], control))
            reply = ([(words[shared:], control)] if len(words) > shared else []) + reply[1:]
            shared -= len(lead[-1][0])
        self._add(lead, 0.0)
        return reply

    def _prompt(self, seen: set[str]) -> None:
        if self.writers.template.order == "alternate" and self.thread.beats and self.thread.beats[-1].role == "assistant":
            raise TunesmithError("The conversation already ends with an answer.", "End it with a user turn to ask for one.")
        scope = self._scope(len(self.thread.beats), None, "assistant" not in seen)
        scope["role"] = "assistant"
        self._write("prompt", scope)
        self._write("start", scope)

    # -- pieces ------------------------------------------------------------------------------------------------------

    def _write(self, key: str, scope: dict[str, Any], weight: float = 0.0, *, border: bool = False) -> None:
        writer = self.writers.slots[key]
        if writer is not None:
            out: Parts = []
            writer(scope, out)
            self._add(out, weight, border=border)

    def _add(self, parts: Parts, weight: float, *, border: bool = False) -> None:
        rows = self.rows
        for text, control in parts:
            if not text:
                continue
            if not border and rows and rows[-1][1] is control and rows[-1][2] == weight:
                rows[-1][0].append(text)
            else:
                rows.append(([text], control, weight))
                border = False


def _is_lost(thought: str, reply: Parts) -> bool:
    """Whether a reply was written without its thought."""
    return bool(thought) and thought.strip() not in "".join(text for text, _ in reply)
