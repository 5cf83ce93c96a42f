"""An engine for tests of talking: it repeats what it hears, word by word, and takes its time if told to.

Run as a program, it is the terminal's partner: ``python parrot.py``.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from types import SimpleNamespace

from tunesmith.contracts import Delta, Engine, Request, Sampling
from tunesmith.data.conversation import Call, Conversation, Media, Part, Result, Text, Thought, Turn
from tunesmith.dialogue import Dialogue
from tunesmith.errors import TunesmithError
from tunesmith.plan import ModelWish

WEATHER = '{"name": "get_weather", "arguments": {"city": "%s"}}'
#: What is answered to some words.
CANNED = {
    "call": WEATHER % "Oslo",
    "call twice": f"{WEATHER % 'Oslo'}\n{WEATHER % 'Bergen'}",
    "say nothing": "",
    "think": "<think>seven is odd</think>It is **odd**.",
}


class Reader:
    """Reads an answer: JSON is a tool call, anything else is words."""

    stop = ()
    media = True  # it takes whatever is shown to it

    def render(self, conversation: Conversation, *, generation_prompt: bool = False) -> None:
        if conversation.effort == "odd":
            raise TunesmithError("reasoning_effort: there is no 'odd'.", "Write one of low, medium, high.")

    def parse_reply(self, text: str, tools: tuple[dict[str, object], ...] = ()) -> Turn:
        if text.startswith("{"):
            calls = [json.loads(line) for line in text.splitlines()]
            return Turn("assistant", tuple(Call(call["name"], call["arguments"]) for call in calls))
        thought, found, words = text.removeprefix("<think>").partition("</think>")
        if found:
            return Turn("assistant", (Thought(thought), Text(words)))
        return Turn("assistant", (Text(text),) if text else ())


def words_of(part: Part) -> str:
    """What the parrot makes of a part."""
    if isinstance(part, Media):
        return f"[{part.kind} of {len(part.data)} bytes]"
    return part.content if isinstance(part, Result) else part.text


class Parrot(Engine):
    """Answers ``heard N: …`` where N counts the turns; ``wait`` makes it slow, ``call`` a tool call, ``refuse`` an error."""

    def __init__(self) -> None:
        self.renderer = Reader()
        self.closed = 0
        self.asked: list[Conversation] = []

    def start(self, plan: object) -> None: ...

    def encode(self, conversation: Conversation) -> tuple[int, ...]:
        if conversation.turns[-1].text == "refuse":
            raise TunesmithError("The template cannot express this.", "Say something else.")
        self.asked.append(conversation)
        return (len(self.asked) - 1,)

    def generate(self, requests: Sequence[Request]) -> Iterator[Delta]:
        conversation = self.asked[requests[0].ids[0]]
        last = conversation.turns[-1]
        heard = "".join(map(words_of, last.parts))
        if heard in CANNED:
            yield Delta("x", (1,), CANNED[heard], "stop")
            return
        words = f"heard {len(conversation.turns)}: {heard}".split(" ")
        words += ["and so on"] * 400 if heard == "wait" else []
        try:
            for i, word in enumerate(words):
                time.sleep(0.02 if heard == "wait" else 0)
                yield Delta("x", (i,), word if i == 0 else f" {word}", "stop" if i == len(words) - 1 else None)
        finally:
            self.closed += 1

    def stop(self) -> None: ...


def dialogue(system: str = "") -> Dialogue:
    """A conversation with a parrot."""
    return Dialogue(Parrot(), Sampling(), system)


if __name__ == "__main__":
    from tunesmith_chat.terminal import Terminal

    Terminal(dialogue(), SimpleNamespace(models={"policy": ModelWish("policy", "parrot")})).run()
    print("left in peace")
