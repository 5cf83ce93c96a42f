"""A declared template → the ``TEMPLATE``, ``SYSTEM`` and ``PARAMETER stop`` lines of an Ollama Modelfile.

Tools and reasoning are left to Ollama's own handling of models it knows: the text here is that of plain conversations. The
token that begins a text is left out, because Ollama puts it there itself.
"""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from tunesmith.errors import TunesmithError
from tunesmith.templates.conditions import tree
from tunesmith.templates.model import If, Node, Slot, Trim, Value, Words, conditions_in

if TYPE_CHECKING:
    from tunesmith.templates.render import DeclaredRenderer

#: Facts that plain conversations settle beforehand, and how Ollama's language tells the others.
_SETTLED = {
    "tools": False, "calls": False, "thought": False, "thought_given": False, "results": False, "many_calls": False,
    "after_tool": False, "before_tool": False, "calls_without_ids": False, "results_without_ids": False, "generating": True,
}  # fmt: skip
_ASKED = {
    "system": ".System", "system_given": ".System", "content": ".Content", "first": "$first", "opening": "$first",
    "last": "$last", "last_user": "$last",
}  # fmt: skip


def to_ollama(renderer: DeclaredRenderer) -> str:
    """The lines of a Modelfile.

    :raises TunesmithError: the template depends on something that Ollama's language cannot tell; names it.
    """
    lines = [f'TEMPLATE """{_Export(renderer).whole()}"""']
    if renderer.default_system:
        lines.append(f'SYSTEM """{renderer.default_system}"""')
    return "\n".join([*lines, *(f'PARAMETER stop "{stop}"' for stop in renderer.stop)]) + "\n"


class _Export:
    """One template on its way to Ollama's form of Go templates."""

    def __init__(self, renderer: DeclaredRenderer) -> None:
        self.renderer = renderer
        self.template = renderer.template

    def whole(self) -> str:
        template, text = self.template, self.nodes(self.template.prefix, ".")
        if template.system:
            text += "{{ if .System }}" + self.nodes(template.system, ".") + "{{ end }}"
        asked = [*conditions_in(template.user), *conditions_in(template.reply)]
        counts = any(word in text.split() for text in asked for word in ("first", "opening"))
        text += "{{ $first := true }}" if counts else ""
        text += "{{ range $i, $_ := .Messages }}{{ $last := eq (len (slice $.Messages $i)) 1 }}"
        text += '{{ if eq .Role "user" }}' + self.nodes(template.user, "$.") + ("{{ $first = false }}" if counts else "")
        answer = self.nodes(template.prompt, "$.")
        reply = self.nodes((*template.reply, *template.after), "$.")
        text += '{{ else if eq .Role "assistant" }}' + answer + reply + "{{ end }}"
        start = self.nodes(template.start, "$.")
        if answer or start:
            text += '{{ if and $last (ne .Role "assistant") }}' + answer + start + "{{ end }}"
        return text + "{{ end }}"

    def nodes(self, slot: Slot, root: str) -> str:
        return "".join(self._node(node, root) for node in slot)

    def _node(self, node: Node, root: str) -> str:
        if isinstance(node, Words):
            return node.text.replace("{{", "{{ `{{` }}")
        if isinstance(node, If):
            return self._if(node, root)
        if isinstance(node, Trim):
            return self.nodes(node.body, root)
        return self._value(node, root) if isinstance(node, Value) else ""

    def _value(self, node: Value, root: str) -> str:
        name = node.path[0]
        if name in ("eos", "date", "effort"):
            return str(self.renderer._base[name])
        if name in ("bos", "tools", "calls", "thinking", "thought"):
            return ""
        if name == "system":
            return f"{{{{ {root}System }}}}"
        if name == "content":
            return "{{ .Content }}"
        raise TunesmithError(f"Ollama's language has no word for {name!r}, which the template {self.template.name!r} writes.")

    def _if(self, node: If, root: str) -> str:
        text, open_ends, written = "", 0, False
        for branch in node.branches:
            asked = True if branch.condition is None else self._asked(tree(branch.condition), root)
            if asked is False:
                continue
            body = self.nodes(branch.body, root)
            if asked is True:
                text += ("{{ else }}" + body) if open_ends else body
                written |= bool(body)
                break
            text += f"{{{{ else if {asked} }}}}{body}" if open_ends else f"{{{{ if {asked} }}}}{body}"
            open_ends = 1
            written |= bool(body)
        return text + ("{{ end }}" if open_ends else "") if written else ""

    def _asked(self, node: ast.expr, root: str) -> str | bool:
        if isinstance(node, ast.BoolOp):
            return self._joined([self._asked(value, root) for value in node.values], isinstance(node.op, ast.And))
        if isinstance(node, ast.UnaryOp):
            inner = self._asked(node.operand, root)
            return not inner if isinstance(inner, bool) else f"(not {inner})"
        if isinstance(node, ast.Name):
            return self._fact(node.id, root)
        raise TunesmithError(f"Ollama's language cannot ask {ast.unparse(node)!r}; the template {self.template.name!r} does.")

    @staticmethod
    def _joined(parts: list[str | bool], every: bool) -> str | bool:
        if (not every) in parts:
            return not every
        asked = list(dict.fromkeys(part for part in parts if isinstance(part, str)))
        if len(asked) < 2:
            return asked[0] if asked else every
        return f"({'and' if every else 'or'} {' '.join(asked)})"

    def _fact(self, name: str, root: str) -> str | bool:
        base = self.renderer._base
        if name in ("thinking_on", "thinking_off", "preserve"):
            return bool(base[name])
        if name in _SETTLED:
            return _SETTLED[name]
        if name in _ASKED:
            return _ASKED[name].replace(".System", f"{root}System")
        if name in ("after_last_user", "before_user", "before_assistant", "after_user", "after_assistant"):
            return self._order(name)
        raise TunesmithError(f"Ollama's language cannot tell {name!r}, which the template {self.template.name!r} asks.")

    def _order(self, name: str) -> str | bool:
        known: dict[str, str | bool] = {"after_last_user": "$last", "after_user": True, "before_user": "(not $last)"}
        return known.get(name, False)
