"""Ask a model every held-out question at once, and count the answers that are exactly right."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tasks import Row
from tunesmith import api, launch
from tunesmith.contracts import Engine, Request, Sampling
from tunesmith.data.conversation import Call, Conversation, Text, Turn
from tunesmith.plugins import Plugins

GREEDY = Sampling(max_new_tokens=64, do_sample=False)


@dataclass(frozen=True)
class Answer:
    """What a model said to one question. A right tool call has the right name and arguments, and no word beside it."""

    row: Row
    text: str
    turn: Turn

    @property
    def right(self) -> bool:
        """Whether it is exactly the expected answer."""
        if isinstance(self.row.answer, str):
            return self.text == self.row.answer
        calls = [{"name": part.name, "arguments": dict(part.arguments)} for part in self.turn.parts if isinstance(part, Call)]
        return calls == [self.row.answer] and not self.turn.text.strip()


def ask(config: Mapping[str, Any], rows: Sequence[Row]) -> list[Answer]:
    """The greedy answers of the model that ``config`` names, in the order of ``rows``."""
    plugins = Plugins()
    plan = api.plan(config, command="chat", plugins=plugins)
    plan.check_ready()
    launch.prepare_environment(plan, plugins)
    engine: Engine = plugins.engines.get(plan.the("engines").wanted).load()(plan)
    engine.start(plan)
    try:
        texts = _generate(engine, [row.question for row in rows])
        return [Answer(row, text, engine.renderer.parse_reply(text)) for row, text in zip(rows, texts, strict=True)]
    finally:
        engine.stop()


def _generate(engine: Engine, questions: Sequence[str]) -> list[str]:
    prompts = [Conversation((Turn("user", (Text(question),)),)) for question in questions]
    requests = [Request(str(i), engine.encode(prompt), GREEDY) for i, prompt in enumerate(prompts)]
    said: defaultdict[str, str] = defaultdict(str)
    for delta in engine.generate(requests):
        said[delta.request] += delta.text
    return [said[request.id] for request in requests]


def score(answers: Sequence[Answer]) -> dict[str, float]:
    """Task → share of its questions answered exactly right; ``all`` for all of them."""
    right: defaultdict[str, list[bool]] = defaultdict(list)
    for answer in answers:
        right[answer.row.task].append(answer.right)
        right["all"].append(answer.right)
    return {task: sum(hits) / len(hits) for task, hits in right.items()}
