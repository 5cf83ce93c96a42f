"""A template as data: what :mod:`tunesmith.templates.parse` reads and every reader of it works on.

A *slot* is a piece of a template's text with tags in it, parsed into nodes. Everything else a table can say is a plain value.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from tunesmith.templates.conditions import names_in


@dataclass(frozen=True)
class Words:
    """Text of the template's own."""

    text: str


@dataclass(frozen=True)
class Value:
    """``{content|trim}``: what stands at ``path``, passed through ``filters`` from left to right."""

    path: tuple[str, ...]
    filters: tuple[str, ...] = ()


@dataclass(frozen=True)
class Branch:
    """One arm of an :class:`If`; the ``else`` arm has no condition."""

    condition: str | None
    body: Slot


@dataclass(frozen=True)
class If:
    """``{if a}…{elif b}…{else}…{end}``: the first arm that holds."""

    branches: tuple[Branch, ...]


@dataclass(frozen=True)
class Each:
    """``{each call in calls}…{end}``, or ``{each key, value in call.arguments}…{end}`` for an object.

    ``ordered``: by key, as ``{each key, value in call.arguments|sorted}`` asks.
    """

    names: tuple[str, ...]
    path: tuple[str, ...]
    body: Slot
    ordered: bool = False


@dataclass(frozen=True)
class Part:
    """``{part schema tool.function.parameters}``: the named part, with what stands at ``path`` as ``it``. A part may write
    itself again, as schemas inside schemas need.

    ``{part field value as key}`` gives it what stands at ``called`` as ``name``.
    """

    name: str
    path: tuple[str, ...]
    called: tuple[str, ...] = ()


@dataclass(frozen=True)
class Trim:
    """``{trim}…{end}``: what is inside, without white space at its two ends."""

    body: Slot


Node: TypeAlias = Words | Value | If | Each | Trim | Part
Slot: TypeAlias = tuple[Node, ...]


@dataclass(frozen=True)
class Refusal:
    """A kind of turn that the template cannot express: ``when`` holds, ``because`` says why in the user's words."""

    when: str
    because: str
    instead: str = ""


@dataclass(frozen=True)
class DateRule:
    """How a template prints the day. ``default`` is the day (ISO) it prints when the run names none."""

    format: str
    default: str
    weekdays: tuple[str, ...] = ()
    months: tuple[str, ...] = ()


@dataclass(frozen=True)
class Thinking:
    """How reasoning is marked. ``history``: whether thoughts before the last user turn are dropped or kept; ``never``: the
    published template shows no thought in any turn, the last included, and cuts words off up to the tag that closes one. There
    reasoning is learned with ``preserve_thinking`` only.

    ``inline``: whether a thought is looked for in the words of a turn. Where the published template does not look, such words
    are best left as they are.

    ``{thinking}`` in a slot is ``open``, the thought and ``close`` where there is a thought to show, else nothing.
    """

    open: str
    close: str
    history: Literal["drop", "keep", "never"] = "drop"
    inline: bool = True


@dataclass(frozen=True)
class Channels:
    """A reply that is written as messages, each a header and a body: how it is read back.

    :param mark: stands in a header before the name of the channel.
    :param body: ends the header. ``ends``: what can end the body.
    :param recipient: stands in the header of a call before the tool's name; such a body is the arguments as JSON.
    :param thoughts: the channels of reasoning; all others are words.
    """

    mark: str
    body: str
    ends: tuple[str, ...]
    recipient: str
    thoughts: tuple[str, ...]


@dataclass(frozen=True)
class MediaForm:
    """What is written where a turn holds media: ``texts`` by kind, each with the placeholder token that the model's processor
    looks for. ``first``: they stand before the words of their turn, wherever they were among them."""

    texts: Mapping[str, str]
    first: bool = False


@dataclass(frozen=True)
class ToolTable:
    """A tool syntax as data. ``call`` writes one call; ``open``, ``between`` and ``close`` stand around and between them.

    :param alone: a call is the whole reply, so generated text is searched for one only from its start.
    :param result: a result as plain text, for templates that have no place of their own for results.
    """

    name: str = ""
    declare: Slot = ()
    open: Slot = ()
    call: Slot = ()
    between: Slot = ()
    close: Slot = ()
    result: Slot = (Value(("result", "content")),)
    alone: bool = False
    parts: Mapping[str, Slot] = field(default_factory=dict)
    source: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Template:
    """Everything one table says, with what it extends already filled in.

    :param prefix: begins every text. ``system``: comes next, where there is a system text or tools that it writes.
    :param later_system: a system turn that is not the first. ``gather``: instead, system turns anywhere are joined by this
        text and stand where the first one does.
    :param prompt: the head of an answer; ``start``: what generation starts from beyond it, part of no training text by itself.
    :param reply: what the model writes, stop token included; ``after``: follows it, seen and not learned.
    :param end: the token that ends the last answer in training rows where the published text ends it with none; the first
        of ``stop`` where nothing is said. ``render`` does not write it.
    :param media: how images, videos and audio are written; ``None`` where there is no place for them.
    :param tool: consecutive results together. ``ending``: comes after the last turn.
    :param effort: how much the model reasons where nobody says it; a template without it cannot say it at all.
    :param order: ``alternate`` refuses anything but user and assistant in turns.
    :param parts: named pieces of slots, for what slots share or what holds itself.
    :param leaves_out: what the published template leaves out without a word, and this one too; only ``system`` can be named.
    :param notes: what is peculiar to the published template; ``differs``: where this table departs from it on purpose.
    """

    name: str
    where: str
    summary: str = ""
    models: tuple[str, ...] = ()
    source: str = ""
    notes: tuple[str, ...] = ()
    differs: tuple[str, ...] = ()
    default_system: str | None = None
    bos: str = ""
    eos: str = ""
    stop: tuple[str, ...] = ()
    leaves_out: tuple[str, ...] = ()
    gather: str | None = None
    effort: str = ""
    order: Literal["free", "alternate"] = "free"
    date: DateRule | None = None
    thinking: Thinking | None = None
    channels: Channels | None = None
    tools: ToolTable | str | None = None
    media: MediaForm | None = None
    refuse: tuple[Refusal, ...] = ()
    prefix: Slot = ()
    system: Slot = ()
    later_system: Slot = ()
    user: Slot = ()
    prompt: Slot = ()
    start: Slot = ()
    reply: Slot = ()
    after: Slot = ()
    end: Slot = ()
    tool: Slot = ()
    ending: Slot = ()
    parts: Mapping[str, Slot] = field(default_factory=dict)
    identity: str = ""

    def slots(self) -> Iterator[tuple[str, Slot]]:
        """Every slot with its key."""
        for key in SLOT_KEYS:
            yield key, getattr(self, key)


SLOT_KEYS = ("prefix", "system", "later_system", "user", "prompt", "start", "reply", "after", "end", "tool", "ending")
TOOL_SLOT_KEYS = ("declare", "open", "call", "between", "close", "result")


def nodes_in(slot: Slot) -> Iterator[Node]:
    """Every node of a slot, also inside others."""
    for node in slot:
        yield node
        if isinstance(node, Each | Trim):
            yield from nodes_in(node.body)
        elif isinstance(node, If):
            for branch in node.branches:
                yield from nodes_in(branch.body)


def values_in(slot: Slot) -> Iterator[Value]:
    """Every placeholder of a slot."""
    return (node for node in nodes_in(slot) if isinstance(node, Value))


def paths_in(slot: Slot) -> Iterator[tuple[str, ...]]:
    """Every path that a slot's placeholders and loops name, conditions not included."""
    for node in nodes_in(slot):
        if isinstance(node, Value | Each | Part):
            yield node.path
        if isinstance(node, Part) and node.called:
            yield node.called


def conditions_in(slot: Slot) -> Iterator[str]:
    """Every condition in a slot."""
    for node in nodes_in(slot):
        if isinstance(node, If):
            yield from (branch.condition for branch in node.branches if branch.condition is not None)


def writes(slot: Slot, name: str) -> bool:
    """Whether a slot writes, or loops over, the value ``name``."""
    return any(path[0] == name for path in paths_in(slot))


def names_used(template: Template) -> set[str]:
    """Every value and fact that a template asks for anywhere: paths with dots, and their first words."""
    tools = template.tools if isinstance(template.tools, ToolTable) else ToolTable()
    slots = [slot for _, slot in template.slots()] + [*template.parts.values(), *tools.parts.values()]
    slots += [tools.declare, tools.open, tools.call, tools.between, tools.close]
    paths = [path for slot in slots for path in paths_in(slot)]
    conditions = [text for slot in slots for text in conditions_in(slot)] + [rule.when for rule in template.refuse]
    asked = {name for text in conditions for name in names_in(text)}
    return asked | {".".join(path) for path in paths} | {path[0] for path in paths}
