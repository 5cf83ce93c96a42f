"""A conversation as a page. What was said belongs to the browser's session; sessions share nothing but the engine."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

import gradio
from tunesmith.contracts import Engine, Sampling
from tunesmith.data.conversation import Call, Result, Text, Thought, Turn
from tunesmith.dialogue import Dialogue
from tunesmith.errors import TunesmithError

Messages = list[dict[str, Any]]
Turns = tuple[Turn, ...]


@dataclass(frozen=True)
class Talk:
    """Answers one session after the other, all by the same engine."""

    engine: Engine
    sampling: Sampling

    def answer(
        self, said: str, turns: Turns, system: str, tools: str, *drawn: float
    ) -> Iterator[tuple[Messages, Turns, dict[str, Any]]]:
        """The conversation with one more turn of the user and the answer as it comes: messages, turns, the emptied field.

        :param drawn: most new tokens, temperature, top-p.
        """
        most, temperature, top_p = drawn
        chosen = replace(self.sampling, max_new_tokens=int(most), top_p=top_p, do_sample=temperature > 0)
        if temperature > 0:
            chosen = replace(chosen, temperature=temperature)
        dialogue = Dialogue(self.engine, chosen, system, read_tools(tools))
        dialogue.turns = list(turns)
        before, text = messages_of(turns), ""
        try:
            with closing(dialogue.say(said)) as pieces:  # type: ignore[type-var]
                asked = [*before, {"role": "user", "content": said}]
                for piece in pieces:
                    text += piece
                    sofar = (*dialogue.turns, Turn("assistant", (Text(text),)))  # what stays when the answer is stopped
                    yield [*asked, {"role": "assistant", "content": text}], sofar, gradio.update(value="")
        except TunesmithError as error:
            raise gradio.Error(f"{error} {error.hint}") from error
        yield messages_of(tuple(dialogue.turns)), tuple(dialogue.turns), gradio.update(value="")


def read_tools(text: str) -> tuple[Mapping[str, Any], ...]:
    """The tools that somebody has typed.

    :raises gradio.Error: it is no JSON list of tool objects.
    """
    if not text.strip():
        return ()
    try:
        tools = json.loads(text)
    except ValueError as error:
        raise gradio.Error(f"The tools are no JSON: {error}") from error
    if not isinstance(tools, list) or not all(isinstance(tool, dict) for tool in tools):
        raise gradio.Error("The tools must be a JSON list of OpenAI tool objects.")
    return tuple(tools)


def messages_of(turns: Turns) -> Messages:
    """Turns as the page shows them: thoughts and calls folded."""
    return [message for turn in turns for part in turn.parts for message in _shown(turn, part)]


def _shown(turn: Turn, part: Any) -> Messages:
    role = "user" if turn.role == "user" else "assistant"
    if isinstance(part, Text):
        return [{"role": role, "content": part.text}] if part.text else []
    if isinstance(part, Thought):
        return [{"role": role, "content": part.text, "metadata": {"title": "💭"}}]
    if isinstance(part, Call):
        content = f"```json\n{json.dumps(dict(part.arguments), ensure_ascii=False, indent=1)}\n```"
        return [{"role": role, "content": content, "metadata": {"title": f"🔧 {part.name}"}}]
    return [{"role": role, "content": part.content}] if isinstance(part, Result) else []


def chat_page(engine: Engine, sampling: Sampling, said: gradio.I18n) -> gradio.Blocks:
    """The page of one engine."""
    talk = Talk(engine, sampling)
    with gradio.Blocks(title="Tunesmith", analytics_enabled=False) as page:
        turns = gradio.State(())
        shown = gradio.Chatbot(label=said("conversation"), height="65vh", feedback_options=None)
        field = gradio.Textbox(placeholder=said("say_something"), show_label=False, autofocus=True)
        with gradio.Row():
            send = gradio.Button(said("send"), variant="primary")
            stop = gradio.Button(said("stop"))
            clear = gradio.Button(said("clear"))
        with gradio.Accordion(said("more"), open=False):
            system = gradio.Textbox(label=said("system"), lines=2)
            tools = gradio.Code(label=said("tools"), language="json", value="")
            most = gradio.Number(sampling.max_new_tokens, label="max_new_tokens", minimum=1, precision=0)
            heat = sampling.temperature if sampling.do_sample else 0.0
            temperature = gradio.Slider(0, 2, heat, label="temperature")
            top_p = gradio.Slider(0.01, 1, sampling.top_p, label="top_p")
        asked = gradio.on(
            [field.submit, send.click],
            talk.answer,
            [field, turns, system, tools, most, temperature, top_p],
            [shown, turns, field],
            api_name="answer",
        )
        stop.click(None, cancels=[asked])
        clear.click(lambda: ([], (), ""), None, [shown, turns, field], cancels=[asked], api_name="clear")
    return page  # type: ignore[no-any-return]
