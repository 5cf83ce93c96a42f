"""The renderer of a declared template: the one object behind training text, chat, API and exported templates."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from tunesmith.contracts import Renderer, ToolSyntax
from tunesmith.data.conversation import Call, Conversation, Part, Rendered, Text, Thought, Turn
from tunesmith.errors import TunesmithError
from tunesmith.templates.channels import read_channels
from tunesmith.templates.conditions import predicate
from tunesmith.templates.dates import printed
from tunesmith.templates.media_marks import flattening, with_media
from tunesmith.templates.model import (
    SLOT_KEYS,
    If,
    Node,
    Slot,
    Template,
    ToolTable,
    Value,
    Words,
    names_used,
    values_in,
    writes,
)
from tunesmith.templates.reasoning import asked, check_effort
from tunesmith.templates.rendering import EMPTY, PLACE, Rendering
from tunesmith.templates.thinking import read_back
from tunesmith.templates.thread import Thread, check_fits, thread_of
from tunesmith.templates.tools import parse_calls, with_tools
from tunesmith.templates.writers import Writer, WriterSet, written


@dataclass(frozen=True)
class Options:
    """What a run may change about a template. ``None`` leaves the template's own.

    ``bos`` and ``eos`` are the tokenizer's; ``date`` is a day like 2024-07-26.
    """

    default_system: str | None = None
    enable_thinking: bool | None = None
    effort: str | None = None
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
        self._writers = Writers(self.template)
        self._set(options or Options())

    def _set(self, options: Options) -> None:
        template = self.template
        self.options = options
        self.eos = template.eos if options.eos is None else options.eos
        self.bos = template.bos if options.bos is None else options.bos
        self.stop = template.stop or (self.eos,)
        self.default_system = template.default_system if options.default_system is None else options.default_system
        check_effort(template, options.effort)
        self._base = {
            **EMPTY,
            "bos": self.bos,
            "eos": self.eos,
            "date": printed(template.date, options.date),
            "thinking_on": options.enable_thinking is True,
            "thinking_off": options.enable_thinking is False,
            "effort": options.effort or template.effort,
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
        base = asked(self._base, conversation, self.template, self._writers.switches)
        rendered = Rendering(self._writers, base, thread, generation_prompt).rendered(self.stop)
        media = [one for beat in thread.beats for one in beat.media]
        form = self.template.media
        return with_media(rendered, media, form) if media and form is not None else rendered

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

        return (flattening(self.template.media) if self.template.media else "") + to_jinja(self)

    def ollama(self) -> str:
        """The template for an Ollama Modelfile; see :mod:`tunesmith.templates.ollama`."""
        from tunesmith.templates.ollama import to_ollama

        return to_ollama(self)


class Writers:
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
        used = names_used(template)
        self.place = [(name, holds) for name, holds in PLACE.items() if name in used]
        self.switches = not used.isdisjoint(("thinking_on", "thinking_off"))
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
