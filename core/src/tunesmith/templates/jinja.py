"""A declared template → the Jinja chat template that is written beside a trained model.

Every tag trims the white space around it, so the text is laid out for people and renders exactly. What the model says stands
between generation marks, for programs that learn from them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING

from tunesmith.templates.atoms import told_apart
from tunesmith.templates.conditions import jinja_path
from tunesmith.templates.conditions import to_jinja as condition
from tunesmith.templates.filters import FILTERS
from tunesmith.templates.jinja_pieces import CALLS, INSIDE, LEAD, OF_CALLS, PLACE, RESULTS, TEXT_MACRO
from tunesmith.templates.model import (
    Each,
    If,
    Node,
    Part,
    Slot,
    Template,
    Thinking,
    ToolTable,
    Trim,
    Value,
    Words,
    names_used,
)
from tunesmith.templates.thinking import tags

if TYPE_CHECKING:
    from tunesmith.templates.render import DeclaredRenderer


def to_jinja(renderer: DeclaredRenderer) -> str:
    """The chat template of a renderer, its options filled in as defaults.

    ``enable_thinking``, ``reasoning_effort`` and ``preserve_thinking`` can still be passed; everything else is fixed as it was
    in the run.
    """
    return _Export(renderer).whole()


def quoted(text: str) -> str:
    """A Jinja string."""
    return json.dumps(text, ensure_ascii=False)


class _Export:
    """One template on its way to Jinja."""

    def __init__(self, renderer: DeclaredRenderer) -> None:
        self.renderer = renderer
        self.template: Template = renderer.template
        self.tools = self.template.tools if isinstance(self.template.tools, ToolTable) else None
        self.can = renderer._writers.can | ({} if self.tools else {"tools": False, "calls": False})
        self.names = names_used(self.template)
        self.blocks = 0

    def _parts(self) -> dict[str, Slot]:
        return {**self.template.parts, **(self.tools.parts if self.tools else {})}

    def _macros(self) -> Iterator[str]:
        for name, slot in self._parts().items():
            yield f"{{%- macro part_{name}(it, name) -%}}{self.nodes(slot)}{{%- endmacro -%}}"

    # -- the whole ---------------------------------------------------------------------------------------------------

    def whole(self) -> str:
        lines = [TEXT_MACRO.strip(), *self._macros(), *self._settings(), *self._checks()]
        lines += [self.slot("prefix"), self._system(), *self._ends()]
        lines += ["{%- for message in rest -%}", *self._turn(), "{%- endfor -%}"]
        lines += [self.slot("ending"), *self._prompt()]
        return "\n".join(line for line in lines if line)

    def _settings(self) -> Iterator[str]:
        options, default = self.renderer.options, self.renderer.default_system
        asked = {True: "true", False: "false", None: "none"}[options.enable_thinking]
        yield f"{{%- set asked = enable_thinking if enable_thinking is defined else {asked} -%}}"
        yield "{%- set thinking_on = asked is true -%}{%- set thinking_off = asked is false -%}"
        if self.template.effort:
            yield f"{{%- set effort = reasoning_effort|default({quoted(self.renderer._base['effort'])}) -%}}"
        keep = "true" if options.preserve_thinking else "false"
        yield f"{{%- set preserve = preserve_thinking if preserve_thinking is defined else {keep} -%}}"
        yield "{%- set tools = tools if tools is defined and tools else [] -%}"
        yield "{%- set generating = add_generation_prompt is defined and add_generation_prompt -%}"
        yield "{%- set role = '' -%}{%- set content = '' -%}{%- set thought = '' -%}"
        yield "{%- set calls = [] -%}{%- set results = [] -%}"
        yield from self._system_text("none" if default is None else quoted(default))
        if self.renderer.generic:
            yield f"{{%- if tools -%}}{{%- set declared -%}}{self.nodes(self._declaration())}{{%- endset -%}}"
            yield "{%- set system = (system + '\\n\\n' + declared) if system else declared -%}{%- endif -%}"

    def _system_text(self, otherwise: str) -> Iterator[str]:
        gather = self.template.gather
        if gather is None:
            yield "{%- set system_given = messages and messages[0].role in ['system', 'developer'] -%}"
            yield "{%- set rest = messages[1:] if system_given else messages -%}"
            yield f"{{%- set system = words(messages[0]) if system_given else {otherwise} -%}}"
            return
        yield "{%- set given = namespace(texts=[], rest=[]) -%}{%- for message in messages -%}"
        yield "  {%- if message.role in ['system', 'developer'] -%}{%- set given.texts = given.texts + [words(message)] -%}"
        yield "  {%- else -%}{%- set given.rest = given.rest + [message] -%}{%- endif -%}{%- endfor -%}"
        yield "{%- set system_given = given.texts|length > 0 -%}{%- set rest = given.rest -%}"
        yield f"{{%- set system = given.texts|join({quoted(gather)}) if system_given else {otherwise} -%}}"

    def _declaration(self) -> Slot:
        return self.tools.declare if self.tools else ()

    def _checks(self) -> Iterator[str]:
        name = self.template.name
        if not self.can["system"]:
            yield self._raise("system is not none", f"The template {name} has no place for a system text.")
        if not self.can["tools"]:
            yield self._raise("tools", f"The template {name} cannot declare tools.")

    def _raise(self, when: str, why: str) -> str:
        return f"{{%- if {when} -%}}{{{{- raise_exception({quoted(why)}) -}}}}{{%- endif -%}}"

    def _system(self) -> str:
        if not self.template.system:
            return ""
        also = " or tools" if self.renderer._writers.system_tools else ""
        return f"{{%- if system is not none{also} -%}}{self.slot('system')}{{%- endif -%}}"

    def _ends(self) -> Iterator[str]:
        yield "{%- set ends = namespace(last_user=rest|length, spoken=0, names={}) -%}"
        last = "{%- if message.role == 'user' -%}{%- set ends.last_user = loop.index0 -%}{%- endif -%}"
        yield f"{{%- for message in rest -%}}{last}{{%- endfor -%}}"

    # -- turns -------------------------------------------------------------------------------------------------------

    def _turn(self) -> Iterator[str]:
        yield "  {%- set role = 'system' if message.role == 'developer' else message.role -%}"
        yield "  {%- set here = loop.index0 -%}{%- set ahead = here + 1 -%}"
        yield "  {%- set content = words(message) -%}{%- set thought = '' -%}{%- set calls = [] -%}{%- set results = [] -%}"
        if self.template.order == "alternate":
            yield from self._order()
        yield "  {%- if role == 'user' -%}"
        yield from self._branch("user")
        yield "  {%- elif role == 'assistant' -%}"
        yield from self._assistant()
        if self.template.tool:
            yield "  {%- elif role == 'tool' -%}"
            yield "    {%- if here == 0 or rest[here - 1].role != 'tool' -%}" + RESULTS
            yield from self._result_names()
            yield from self._branch("tool")
            yield "    {%- endif -%}"
        if self.template.later_system:
            yield "  {%- elif role == 'system' -%}"
            yield from self._branch("later_system")
        why = quoted(f"The template {self.template.name} has no place here for a turn of the role ")
        yield f"  {{%- else -%}}{{{{- raise_exception({why} + role) -}}}}{{%- endif -%}}"

    def _order(self) -> Iterator[str]:
        yield "  {%- if role != 'tool' and not message.tool_calls -%}"
        why = f"The template {self.template.name} wants user and assistant in turns."
        yield "    " + self._raise("(role == 'user') != (ends.spoken % 2 == 0)", why)
        yield "    {%- set ends.spoken = ends.spoken + 1 -%}{%- endif -%}"

    def _result_names(self) -> Iterator[str]:
        if "result.name" not in self.names:
            return
        yield "    {%- set named = namespace(results=[]) -%}{%- for result in results -%}"
        yield "      {%- set name = result.name or ends.names.get(result.id) or ends.names.get(loop.index0) -%}"
        yield "      {%- set named.results = named.results + [{'content': result.content, 'name': name, 'id': result.id}] -%}"
        yield "    {%- endfor -%}{%- set results = named.results -%}"

    def _place(self) -> str:
        used = [f"{{%- set {name} = {text} -%}}" for name, text in PLACE.items() if name in self.names]
        return "    " + "".join(used) if used else ""

    def _branch(self, key: str) -> Iterator[str]:
        yield self._place()
        yield from self._refusals("results_without_ids")
        yield "    " + self.slot(key)

    def _refusals(self, *facts: str) -> Iterator[str]:
        for name in facts:
            if name in self.names:
                yield f"    {{%- set {name} = {OF_CALLS[name]} -%}}"
        for name in set(OF_CALLS) - set(facts):
            if name in self.names:
                yield f"    {{%- set {name} = false -%}}"
        for rule in self.template.refuse:
            yield "    " + self._raise(condition(rule.when), f"The template {self.template.name} {rule.because}.")

    def _assistant(self) -> Iterator[str]:
        yield CALLS.strip("\n")
        if "result.name" in self.names:
            named = "{%- set ends.names = dict(ends.names, **{call.id or '': call.name}) -%}"
            yield f"    {{%- for call in calls -%}}{named}{{%- endfor -%}}"
        if not self.can["calls"]:
            yield "    " + self._raise("calls", f"The template {self.template.name} cannot write calls.")
        yield self._place()
        yield from self._thought()
        yield from self._refusals("many_calls", "calls_without_ids")
        yield "    " + self.slot("prompt")
        yield from self._reply()
        yield "    " + self.slot("after")

    def _thought(self) -> Iterator[str]:
        yield "    {%- set thought = message.reasoning_content or message.reasoning or message.thinking or '' -%}"
        thinking = self.template.thinking
        if thinking is None:
            why = f"The template {self.template.name} has no form for reasoning."
            yield f"    {{%- if thought and not generating -%}}{{{{- raise_exception({quoted(why)}) -}}}}{{%- endif -%}}"
            yield "    {%- if thought -%}{%- set content = '<think>\\n' + thought + '\\n</think>\\n\\n' + content -%}"
            yield "    {%- set thought = '' -%}{%- endif -%}"
            return
        if thinking.history == "never":
            yield "    {%- if preserve -%}"
            yield from self._split(thinking)
            yield "    {%- else -%}"
            yield from self._cut(thinking)
            yield "    {%- endif -%}"
        elif thinking.inline:
            yield from self._split(thinking)
        yield "    {%- set thought_given = true if thought else false -%}"
        hidden = {"drop": "not (here > ends.last_user or preserve)", "never": "not preserve"}.get(thinking.history)
        if hidden:
            yield f"    {{%- if {hidden} -%}}{{%- set thought = '' -%}}{{%- endif -%}}"

    def _split(self, thinking: Thinking) -> Iterator[str]:
        """Part a thought from the words that it is written among."""
        opening, closing = map(quoted, tags(thinking))
        yield f"    {{%- if not thought and {closing} in content -%}}"
        yield f"      {{%- set thought = {INSIDE.format(opening, closing)} -%}}"
        yield f"      {{%- set content = content.split({closing})[-1].lstrip('\\n') -%}}{{%- endif -%}}"

    def _cut(self, thinking: Thinking) -> Iterator[str]:
        """Leave only what follows the last thought, to the character."""
        opening, closing = map(quoted, tags(thinking))
        gap = quoted(thinking.close.partition(tags(thinking)[1])[2])
        yield f"    {{%- if thought -%}}{{%- set content = {gap} + content -%}}{{%- endif -%}}"
        yield f"    {{%- if {closing} in content -%}}"
        yield f"      {{%- set thought = thought or {INSIDE.format(opening, closing)} -%}}"
        yield f"      {{%- set content = content.split({closing})[-1] -%}}{{%- endif -%}}"

    def _reply(self) -> Iterator[str]:
        if not self.template.start:
            yield f"    {{%- generation -%}}{self.slot('reply')}{{%- endgeneration -%}}"
            return
        yield f"    {{%- set reply -%}}{self.slot('reply')}{{%- endset -%}}"
        yield f"    {{%- set start -%}}{self.nodes(told_apart(self.template.start))}{{%- endset -%}}"
        yield LEAD.strip("\n")

    def _prompt(self) -> Iterator[str]:
        yield "{%- if generating -%}"
        if self.template.order == "alternate":
            yield self._raise("rest and rest[-1].role == 'assistant'", "The conversation already ends with an answer.")
        yield "{%- set role = 'assistant' -%}{%- set content = '' -%}{%- set here = rest|length -%}{%- set ahead = here + 1 -%}"
        yield self._place().strip()
        yield self.slot("prompt") + self.slot("start") + "{%- endif -%}"

    # -- slots -------------------------------------------------------------------------------------------------------

    def slot(self, key: str) -> str:
        return self.nodes(getattr(self.template, key))

    def nodes(self, slot: Slot) -> str:
        return "".join(map(self._node, slot))

    def _node(self, node: Node) -> str:
        if isinstance(node, Words):
            return f"{{{{- {quoted(node.text)} -}}}}"
        if isinstance(node, Value):
            return self._value(node)
        if isinstance(node, If):
            return self._if(node)
        if isinstance(node, Each):
            return self._each(node)
        if isinstance(node, Part):
            called = jinja_path(node.called) if node.called else "name"
            return f"{{{{- part_{node.name}({jinja_path(node.path)}, {called}) -}}}}"
        assert isinstance(node, Trim)
        self.blocks += 1
        name = f"block{self.blocks}"
        return f"{{%- set {name} -%}}{self.nodes(node.body)}{{%- endset -%}}{{{{- {name}|trim -}}}}"

    def _value(self, node: Value) -> str:
        made = {"tools": self._tools, "calls": self._calls, "thinking": self._thinking}
        if len(node.path) == 1 and node.path[0] in made:
            return made[node.path[0]]()
        fixed = {"bos": self.renderer.bos, "eos": self.renderer.eos, "date": self.renderer._base["date"]}
        if node.path[0] in fixed:
            return f"{{{{- {quoted(str(fixed[node.path[0]]))} -}}}}" if fixed[node.path[0]] else ""
        text = jinja_path(node.path)
        for name in node.filters:
            written = "text_or_json" if node.path == ("call", "arguments") and name == "json" else name
            text = FILTERS[written].jinja.format(text)
        if node.filters or node.path[0] in ("content", "thought", "role"):
            return f"{{{{- {text} -}}}}"
        return f"{{{{- {text} if ({text}) is not none else '' -}}}}"

    def _if(self, node: If) -> str:
        text = ""
        for at, branch in enumerate(node.branches):
            test = "" if branch.condition is None else condition(branch.condition)
            word = "if" if at == 0 else "elif" if test else "else"
            text += f"{{%- {word}{' ' + test if test else ''} -%}}{self.nodes(branch.body)}"
        return text + "{%- endif -%}"

    def _each(self, node: Each) -> str:
        many, names = jinja_path(node.path), ", ".join(node.names)
        if len(node.names) == 2:
            many = f"({many} or {{}})|dictsort" if node.ordered else f"({many} or {{}}).items()"
        else:
            many = f"({many} or [])|sort" if node.ordered else f"{many} or []"
        return f"{{%- for {names} in {many} -%}}{self._marks()}{self.nodes(node.body)}{{%- endfor -%}}"

    def _marks(self) -> str:
        used = [name for name in ("first", "last") if f"loop_{name}" in self.names]
        index = "{%- set loop_index = loop.index0 -%}" if "loop_index" in self.names else ""
        return "".join(f"{{%- set loop_{name} = loop.{name} -%}}" for name in used) + index

    def _tools(self) -> str:
        return f"{{%- if tools -%}}{self.nodes(self._declaration())}{{%- endif -%}}" if self.tools else ""

    def _calls(self) -> str:
        if self.tools is None:
            return ""
        between = f"{{%- if not loop.first -%}}{self.nodes(self.tools.between)}{{%- endif -%}}" if self.tools.between else ""
        loop = f"{{%- for call in calls -%}}{between}{self._marks()}{self.nodes(self.tools.call)}{{%- endfor -%}}"
        return f"{{%- if calls -%}}{self.nodes(self.tools.open)}{loop}{self.nodes(self.tools.close)}{{%- endif -%}}"

    def _thinking(self) -> str:
        thinking = self.template.thinking
        if thinking is None:
            return ""
        opening, closing = quoted(thinking.open), quoted(thinking.close)
        return f"{{%- if thought -%}}{{{{- {opening} + thought.strip('\\n') + {closing} -}}}}{{%- endif -%}}"
