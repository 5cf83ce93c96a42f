"""Answers that call tools: what a tool says is put behind the call, unlearned, and the model goes on from there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch
from tunesmith.contracts import MISTAKES, Tool
from tunesmith.data.conversation import Call, Conversation, Prompt, Rendered, Result, Text, Turn
from tunesmith.data.preparation import make_tools
from tunesmith.runtime.session import Session
from tunesmith.runtime.stopping import stop_ids

if TYPE_CHECKING:
    from tunesmith_grpo.trainers import PromptTrainer


@dataclass
class Episode:
    """One answer, with all that was said in it.

    :param ids: what follows the prompt; ``said`` is 1 for each token of the model's and 0 for those of tools.
    :param logprobs: how likely each token was where it was drawn, if anybody said; 0 for those of tools.
    """

    prompt: Prompt
    start: list[int]
    ids: list[int]
    said: list[int]
    logprobs: list[float] | None
    turns: list[Turn] = field(default_factory=list)
    tools: dict[str, Tool] = field(default_factory=dict)

    def add(self, ids: list[int], logprobs: list[float] | None, said: int) -> None:
        """Put tokens behind what is there."""
        self.ids = [*self.ids, *ids]
        self.said += [said] * len(ids)
        if self.logprobs is not None:
            self.logprobs = [*self.logprobs, *(logprobs or [0.0] * len(ids))]


class ToolUse:
    """Plays out the answers of a run whose configuration names ``tools``.

    Ids are only ever appended: what the model has said stays as it said it, and is never rendered anew.
    """

    def __init__(self, session: Session, limit: int | None) -> None:
        self._session, self._limit = session, limit
        encoder, renderer = make_tools(session.plan, session.plugins)
        assert renderer is not None
        self._encoder, self._renderer = encoder, renderer
        self._stops = frozenset(stop_ids(session.tokenizer, renderer))
        self._kinds = {one.name: session.plugins.tools.get(one.wanted).load() for one in session.plan.picked("tools")}
        self.calls = self.failures = 0
        self.episodes: list[Episode] = []

    def play(self, trainer: PromptTrainer, prompts: Sequence[str], starts: Any, first: Any, logprobs: Any) -> list[Episode]:
        """Go on with answers that call tools until none does, the limit of rounds is reached, or there is no more room.

        :param prompts: their names; ``starts``: their ids.
        :param first: the ids of what was answered first; ``logprobs``: how likely each was, or nothing.
        """
        self.calls = self.failures = 0
        self.episodes = [
            Episode(trainer.book.prompt(name), list(starts[at]), [], [], [] if logprobs is not None else None)
            for at, name in enumerate(prompts)
        ]
        for at, episode in enumerate(self.episodes):
            self._heard(episode, list(first[at]), logprobs[at] if logprobs is not None else None)
        rounds, going = 0, self.episodes
        while self._limit is None or rounds < self._limit:
            going = [episode for episode in going if self._answered(episode, trainer.max_completion_length)]
            if not _anybody(trainer, len(going)):
                break
            self._go_on(trainer, going)
            rounds += 1
        return self.episodes

    def _heard(self, episode: Episode, ids: list[int], logprobs: list[float] | None) -> None:
        episode.add(ids, logprobs, 1)
        text = self._session.tokenizer.decode([one for one in ids if one not in self._stops])
        episode.turns.append(self._renderer.parse_reply(text, episode.prompt.conversation.tools))

    def _answered(self, episode: Episode, room: int) -> bool:
        """Whether the last turn called a tool, has ended, and what the tool says leaves room for another answer."""
        calls = [part for part in episode.turns[-1].parts if isinstance(part, Call)]
        if not calls or not episode.ids or episode.ids[-1] not in self._stops:
            return False
        told = Turn("tool", tuple(self._result(episode, call) for call in calls))
        ids = self._between(episode.prompt.conversation, episode.turns[-1], told)
        if len(episode.ids) + len(ids) >= room:
            return False
        episode.add(ids, None, 0)
        episode.turns.append(told)
        return True

    def _result(self, episode: Episode, call: Call) -> Result:
        self.calls += 1
        try:
            if call.name not in episode.tools:
                episode.tools[call.name] = self._kinds[call.name](self._session.plan)
        except KeyError:
            self.failures += 1
            return Result(f"error: there is no tool {call.name!r}", call.name, call.id)
        try:
            return Result(str(episode.tools[call.name].call(call.arguments, episode.prompt.extras)), call.name, call.id)
        except MISTAKES as error:
            self.failures += 1
            return Result(f"error: {error}", call.name, call.id)

    def _between(self, asked: Conversation, called: Turn, told: Turn) -> list[int]:
        """The ids between the end of a call and the next answer: all that the renderer writes after what is learned."""
        turns = (Turn("user", (Text("?"),)), called, told)
        pieces = self._renderer.render(Conversation(turns, asked.tools), generation_prompt=True).pieces
        last = max(at for at, piece in enumerate(pieces) if piece.weight > 0)
        return list(map(int, self._encoder.ids(Rendered(pieces[last + 1 :]))))

    def _go_on(self, trainer: PromptTrainer, going: Sequence[Episode]) -> None:
        """Another answer to each. A process that has none left answers anything: others may hold parts of its weights."""
        asked = [[*episode.start, *episode.ids] for episode in going] or [self.episodes[0].start]
        answers, logprobs = trainer.answers(asked)
        for at, episode in enumerate(going):
            room = trainer.max_completion_length - len(episode.ids)
            self._heard(episode, answers[at][:room], logprobs[at][:room] if logprobs is not None else None)

    def told(self, rows: Sequence[dict[str, Any]]) -> None:
        """Let reward functions know what was said in each answer."""
        for row, episode in zip(rows, self.episodes, strict=True):
            row["turns"] = tuple(episode.turns)


def _anybody(trainer: Any, going: int) -> bool:
    counted = trainer.accelerator.gather(torch.tensor([going], device=trainer.accelerator.device))
    return bool(counted.sum() > 0)


def rated_as(prompt: Prompt, turns: Sequence[Turn]) -> tuple[Prompt, Turn]:
    """What a reward function sees of an answer: the conversation up to the last turn, and that turn."""
    asked = prompt.conversation
    return replace(prompt, conversation=replace(asked, turns=(*asked.turns, *turns[:-1]))), turns[-1]
