"""One conversation being rendered: turn by turn, slot by slot."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from tunesmith.data.conversation import Piece, Rendered
from tunesmith.errors import TunesmithError
from tunesmith.templates.atoms import common_atoms
from tunesmith.templates.thread import Beat, Thread
from tunesmith.templates.writers import Parts, written

if TYPE_CHECKING:
    from tunesmith.templates.render import Writers

#: Facts about a turn's place, by the rendering and the turn's index. Only those that the template asks for are found.
PLACE: Mapping[str, Callable[[Rendering, int], bool]] = {
    "opening": lambda it, at: at == 0,
    "last": lambda it, at: at == len(it.thread.beats) - 1,
    "last_user": lambda it, at: at == it.last_user,
    "after_last_user": lambda it, at: at > it.last_user,
    "last_answer": lambda it, at: at >= it.last_answer,
    "answered": lambda it, at: at < it.last_words,
    "after_user": lambda it, at: it.role(at - 1) == "user",
    "after_assistant": lambda it, at: it.role(at - 1) == "assistant",
    "after_tool": lambda it, at: it.role(at - 1) == "tool",
    "before_user": lambda it, at: it.role(at + 1) == "user",
    "before_assistant": lambda it, at: it.role(at + 1) == "assistant",
    "before_tool": lambda it, at: it.role(at + 1) == "tool",
}


#: What stands in a scope where no turn has put anything.
EMPTY: Mapping[str, Any] = {
    "content": "", "thought": "", "role": "", "calls": (), "results": (), "round": 0, "opening": False, "last": False,
}  # fmt: skip
_SLOT_OF = {"system": "later_system", "user": "user", "tool": "tool"}


class Rendering:
    """One conversation being rendered."""

    def __init__(self, writers: Writers, base: dict[str, Any], thread: Thread, generating: bool) -> None:
        self.writers = writers
        self.thread: Thread = thread
        self.generating = generating
        self.rewritten: set[int] = set()
        self.rows: list[tuple[list[str], bool, float]] = []
        self.base = dict(base)
        self.base["system"], self.base["system_given"] = thread.system, thread.system_given
        self.base["tools"], self.base["generating"] = thread.tools, generating
        self.last_user: int = len(thread.beats)
        self.last_answer: int = -1
        self.last_words: int = -1
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
            scope = self._scope(at, beat.role not in seen)
            self._fill(scope, at, beat)
            seen.add(beat.role)
            start = len(self.rows)
            self._beat(beat, scope)
        if self.generating:
            self._write("ending", self.base)
            self._prompt(seen)
        else:
            end = self._end(scope, stops, start) if beats else ""
            self._write("ending", self.base)
        pieces = tuple([tuple.__new__(Piece, ("".join(texts), control, weight)) for texts, control, weight in self.rows])
        return Rendered(pieces, (), end, frozenset(self.rewritten))

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

    def _scope(self, at: int, first: bool) -> dict[str, Any]:
        scope = dict(self.base)
        scope["first"] = first
        for name, holds in self.writers.place:
            scope[name] = holds(self, at)
        return scope

    def role(self, at: int) -> str:
        """Whose turn it is, or nothing before the first and after the last."""
        beats = self.thread.beats
        return beats[at].role if 0 <= at < len(beats) else ""

    def _fill(self, scope: dict[str, Any], at: int, beat: Beat) -> None:
        scope["role"], scope["content"] = beat.role, beat.content
        if beat.role == "assistant":
            thinking = self.writers.template.thinking
            history = "keep" if thinking is None else thinking.history
            shown = history == "keep" or scope["preserve"] or (history == "drop" and at > self.last_user)
            scope["thought"], scope["thought_given"] = beat.thought if shown else "", bool(beat.thought)
            if beat.calls:
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
            self._write(_SLOT_OF[beat.role], scope, beat.weight)

    def _answer(self, scope: dict[str, Any], beat: Beat) -> None:
        self._write("prompt", scope)
        reply: Parts = []
        writer = self.writers.slots["reply"]
        assert writer is not None
        writer(scope, reply)
        if beat.weight > 0 and (beat.number < self.thread.system_until or _is_lost(beat.thought, reply)):
            self.rewritten.add(beat.number - 1)
        if self.writers.slots["start"] is not None:
            start = written(self.writers.slots["start"], scope)
            reply = self._without_lead(reply, start) if start else reply
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
        scope = self._scope(len(self.thread.beats), "assistant" not in seen)
        scope["role"], scope["awaited"] = "assistant", True
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
