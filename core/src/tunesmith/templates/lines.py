"""Conversations one a line, as ``tunesmith template render`` reads and answers them; goldens are kept in this form, too."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from tunesmith.contracts import Renderer
from tunesmith.data.conversation import Conversation
from tunesmith.data.openai_messages import BadMessage, conversation_from_openai
from tunesmith.errors import TunesmithError, nearest
from tunesmith.templates.auto import AutoRenderer
from tunesmith.templates.parse import check_date
from tunesmith.templates.render import DeclaredRenderer

#: What a line may hold besides ``messages``, with the default of each.
OPTIONS: Mapping[str, Any] = {
    "tools": None,
    "generation_prompt": False,
    "enable_thinking": None,
    "reasoning_effort": None,
    "preserve_thinking": False,
    "date": None,
}


class Line:
    """One line that was read: a conversation, and how it is to be rendered.

    :raises TunesmithError: the line is not of this form; says what is wrong.
    """

    def __init__(self, told: Mapping[str, Any]) -> None:
        for key in told:
            if key not in OPTIONS and key != "messages":
                raise TunesmithError(f"A line has no key {key!r}.", nearest(key, ["messages", *OPTIONS]))
        values = {**OPTIONS, **told}
        for key in ("generation_prompt", "preserve_thinking"):
            if not isinstance(values[key], bool):
                raise TunesmithError(f"{key} is {values[key]!r}, neither true nor false.")
        if values["enable_thinking"] not in (True, False, None):
            raise TunesmithError(f"enable_thinking is {values['enable_thinking']!r}, neither true nor false nor null.")
        self.generation_prompt: bool = values["generation_prompt"]
        self.options = {
            "enable_thinking": values["enable_thinking"],
            "effort": values["reasoning_effort"],
            "preserve_thinking": values["preserve_thinking"],
            "date": None if values["date"] is None else check_date(str(values["date"])),
        }
        try:
            self.conversation: Conversation = conversation_from_openai(values.get("messages"), values["tools"])
        except BadMessage as error:
            raise TunesmithError(f"{error}.") from error


def read_line(text: str) -> Line:
    """Read a line.

    :raises TunesmithError: it is no JSON object of this form.
    """
    try:
        told = json.loads(text)
    except ValueError as error:
        raise TunesmithError(f"This line is no JSON: {error}.") from error
    if not isinstance(told, Mapping):
        raise TunesmithError("This line is no JSON object.")
    return Line(told)


def answer(renderer: DeclaredRenderer | AutoRenderer, text: str) -> dict[str, Any]:
    """``{"text", "learned", "stop"}`` for one line, ``{"error"}`` for what is refused.

    ``learned`` are character ranges ``[start, end)``; nothing of a prompt is learned.
    """
    try:
        line = read_line(text)
        fitted = fitting(renderer, line)
        rendered = fitted.render(line.conversation, generation_prompt=line.generation_prompt)
    except TunesmithError as error:
        return {"error": f"{error.message} {error.hint}".strip()}
    learned = [] if line.generation_prompt else [list(span) for span in rendered.learned]
    return {"text": rendered.text, "learned": learned, "stop": list(fitted.stop)}


def fitting(renderer: DeclaredRenderer | AutoRenderer, line: Line) -> Renderer:
    """The renderer with the options of a line."""
    if isinstance(renderer, DeclaredRenderer):
        return renderer.with_options(**line.options)
    return AutoRenderer(renderer.facts, {**renderer.options, **line.options}, renderer.find_reader)
