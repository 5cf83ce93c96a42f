"""The words that a template itself writes into answers: what a thought begins and ends with, what a call begins with.

Found by rendering answers made of words that nobody writes, so that every renderer will do, declared or the model's own.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import cast

from tunesmith.contracts import Renderer
from tunesmith.data.conversation import Call, Conversation, Part, Rendered, Text, Thought, Turn
from tunesmith.errors import RewrittenReplies, TunesmithError

_THOUGHT, _WORDS, _NAME = "Qthoughtq", "Qwordsq", "qnameq"
_ASKED = Turn("user", (Text("Qaskedq"),))
_TOOL = {
    "type": "function",
    "function": {"name": _NAME, "description": "d", "parameters": {"type": "object", "properties": {"x": {"type": "integer"}}}},
}
_CALL = Call(_NAME, {"x": 1}, "call00001")


@dataclass(frozen=True)
class Marks:
    """What to look for in an answer; empty where the template has no such thing.

    :param calls: there are calls; without a mark of their own, any text may be the beginning of one.
    :param opened: prompts end with ``opening``: answers begin in the middle of a thought.
    :param tail: what may stand before the words.
    """

    opening: str = ""
    closing: str = ""
    call: str = ""
    tail: str = ""
    calls: bool = False
    opened: bool = False

    @property
    def all(self) -> tuple[str, ...]:
        """Every mark there is."""
        return tuple(mark for mark in (self.opening, self.closing, self.call, self.tail) if mark)


class _Asking:
    """A renderer of conversations that ask to think, or not to."""

    def __init__(self, renderer: Renderer, thinking: bool) -> None:
        self.renderer = renderer
        self.thinking = thinking

    def render(self, conversation: Conversation, *, generation_prompt: bool) -> Rendered:
        asked = replace(conversation, thinking=self.thinking)
        return self.renderer.render(asked, generation_prompt=generation_prompt)


@lru_cache(64)
def find_marks(renderer: Renderer, thinking: bool | None = None) -> Marks:
    """The marks of a renderer, in answers to conversations that say of ``thinking`` what is given."""
    renderer = renderer if thinking is None else cast(Renderer, _Asking(renderer, thinking))
    prompt = _text(renderer, Conversation((_ASKED,)), generating=True) or ""
    plain = _lead(renderer, (Text(_WORDS),), _WORDS)
    opening, closing, opened = _thinking(renderer, prompt)
    calls = _NAME in _answer(renderer, (_CALL,))
    return Marks(opening, closing, _call_mark(renderer, plain), plain.strip(), calls, opened)


def _thinking(renderer: Renderer, prompt: str) -> tuple[str, str, bool]:
    whole = _answer(renderer, (Thought(_THOUGHT), Text(_WORDS)))
    at, end = whole.find(_THOUGHT), whole.rfind(_WORDS)
    if at < 0 or end < at:
        return "", "", False
    head, closing = whole[:at].rstrip(), whole[at + len(_THOUGHT) : end].strip()
    if not closing:
        return "", "", False
    own = head[_shared(prompt, head) :].strip()
    last = head.split()[-1] if head.split() else ""
    return own or last, closing, bool(last) and not own and prompt.rstrip() == head


def _call_mark(renderer: Renderer, plain: str) -> str:
    lead = _lead(renderer, (_CALL,), _NAME)
    if plain and lead.startswith(plain):
        lead = lead[len(plain) :]
    word = next(iter(lead.split()), "")
    quote = min((at for at in (word.find('"'), word.find("'")) if at > 0), default=len(word))
    return word[:quote]


def _lead(renderer: Renderer, parts: tuple[Part, ...], sentinel: str) -> str:
    """What an answer writes before its first word."""
    tools = (_TOOL,) if any(isinstance(part, Call) for part in parts) else ()
    prompt = _text(renderer, Conversation((_ASKED,), tools), generating=True) or ""
    whole = _answer(renderer, parts)
    at = whole.rfind(sentinel)
    return whole[_shared(prompt, whole[:at]) : at] if at >= 0 else ""


def _answer(renderer: Renderer, parts: tuple[Part, ...]) -> str:
    tools = (_TOOL,) if any(isinstance(part, Call) for part in parts) else ()
    return _text(renderer, Conversation((_ASKED, Turn("assistant", parts)), tools)) or ""


def _text(renderer: Renderer, conversation: Conversation, generating: bool = False) -> str | None:
    """The rendered text; ``None`` where the template has no place for it."""
    try:
        return "".join(piece.text for piece in renderer.render(conversation, generation_prompt=generating).pieces)
    except (RewrittenReplies, TunesmithError):
        return None


def _shared(one: str, other: str) -> int:
    """Length of what both begin with."""
    return next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
