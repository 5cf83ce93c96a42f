"""Which declared template writes its answers as a tokenizer's own does: its reader then reads those of ``template: auto``.

A chat template says how answers are written and not how they are read back. Where an installed template writes calls and
reasoning to the character alike, what it reads is what was meant.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from tunesmith.contracts import Renderer
from tunesmith.data.conversation import Call, Conversation, Part, Text, Thought, Turn
from tunesmith.errors import TunesmithError
from tunesmith.templates.samples import CLOCK, WEATHER

if TYPE_CHECKING:
    from tunesmith.plugins import Plugins
    from tunesmith.templates.auto import AutoRenderer
    from tunesmith.templates.render import DeclaredRenderer

_CALL = Call("find_weather", {"place": "Oslo", "days": 1, "sky": {"clear": True}}, "abcdefgh1")
_OTHER = Call("read_clock", {}, "abcdefgh2")
#: Answers that families write each in a way of its own.
PROBES: tuple[tuple[Part, ...], ...] = (
    (_CALL,),
    (_CALL, _OTHER),
    (Text("Let me see."), _CALL),
    (Thought("Winter comes."), Text("Colder.")),
    (Thought("I do not know."), _CALL),
)


def like(own: AutoRenderer, plugins: Plugins) -> DeclaredRenderer | None:
    """The installed template that writes most of the probes as ``own`` does; ``None`` where none writes any."""
    from tunesmith.templates.finding import declared

    wanted = dict(_said(own))
    best, most = None, 0
    for offer in plugins.templates if wanted else ():
        candidate = declared(offer.spec, plugins, options=own.facts.ends())
        if not any(stop in own.source or stop in own.stop for stop in candidate.stop):
            continue
        same = sum(wanted.get(number) == text for number, text in _said(candidate))
        if same > most:
            best, most = candidate, same
    return best


def _said(renderer: Renderer) -> Iterator[tuple[int, str]]:
    """What the model would write for each probe that a template can express."""
    for number, parts in enumerate(PROBES):
        tools = (WEATHER, CLOCK) if any(isinstance(part, Call) for part in parts) else ()
        asked = Turn("user", (Text("How is it in Oslo?"),))
        try:
            rendered = renderer.render(Conversation((asked, Turn("assistant", parts)), tools))
        except TunesmithError:
            continue
        if rendered.learned:
            start, end = rendered.learned[-1]
            yield number, rendered.text[start:end].rstrip()
