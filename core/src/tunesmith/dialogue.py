"""A conversation with an engine: what was said so far, and the next answer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from typing import Any

from tunesmith.contracts import Engine, Request, Sampling
from tunesmith.data.conversation import Conversation, Media, Text, Turn
from tunesmith.plan import Plan


def sampling_of(plan: Plan) -> Sampling:
    """The generation keys of a plan."""
    names = {item.name for item in fields(Sampling)} & set(plan.settings) - {"seed"}
    return Sampling(**{name: plan[name] for name in names})


class Dialogue:
    """Keeps the turns of one conversation. An answer that is broken off is kept as far as it came."""

    def __init__(self, engine: Engine, sampling: Sampling, system: str = "", tools: tuple[Mapping[str, Any], ...] = ()) -> None:
        self.engine = engine
        self.sampling = sampling
        self.system = system
        self.tools = tools
        self.effort: str | None = None
        """How much answers think first, where the template can say it; ``None`` is as the run says."""
        self.turns: list[Turn] = []
        self.finish: str | None = None
        """Why the last answer ended, as :class:`~tunesmith.contracts.Delta` has it; ``None`` when it was broken off."""

    @property
    def conversation(self) -> Conversation:
        """Everything said so far, the system prompt first."""
        system = [Turn("system", (Text(self.system),))] if self.system else []
        return Conversation((*system, *self.turns), self.tools, effort=self.effort)

    def say(self, text: str, media: Sequence[Media] = ()) -> Iterator[str]:
        """Add a user turn and yield the answer as it comes; the answer becomes a turn when the iterator ends or is closed.

        :param media: what is shown before the words.
        """
        self.turns.append(Turn("user", (*media, Text(text))))
        return self.answer()

    def answer(self) -> Iterator[str]:
        """The model's next turn, as it comes."""
        talk = self.conversation
        request = Request("dialogue", self.engine.encode(talk), self.sampling, media=talk.media)
        deltas = self.engine.generate([request])
        said: list[str] = []
        self.finish = None
        try:
            for delta in deltas:
                said.append(delta.text)
                self.finish = delta.finish
                yield delta.text
        finally:
            deltas.close()  # type: ignore[attr-defined]
            self.turns.append(self.engine.renderer.parse_reply("".join(said), self.tools))

    def clear(self) -> None:
        """Forget every turn; system prompt and tools stay."""
        self.turns.clear()
