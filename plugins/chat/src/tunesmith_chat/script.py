"""Answers for scripts: nothing but answers on standard output."""

from __future__ import annotations

import json
from collections.abc import Iterable

import click
from tunesmith.data.openai_answers import message_of
from tunesmith.dialogue import Dialogue

CLEAR = "/clear"


def answer_prompts(dialogue: Dialogue, prompts: Iterable[str], as_json: bool) -> None:
    """Print the answer to each prompt, each a further turn of one conversation."""
    for prompt in prompts:
        answer(dialogue, prompt, as_json)


def answer_lines(dialogue: Dialogue, lines: Iterable[str], as_json: bool) -> None:
    """The same for the lines of a file; ``/clear`` forgets what came before, empty lines count for nothing."""
    for line in lines:
        prompt = line.strip()
        if prompt == CLEAR:
            dialogue.clear()
        elif prompt:
            answer(dialogue, prompt, as_json)


def answer(dialogue: Dialogue, prompt: str, as_json: bool) -> None:
    """Print one answer: as plain text while it comes, or as a JSON object on one line once it is whole."""
    if not as_json:
        for text in dialogue.say(prompt):
            click.echo(text, nl=False)
        click.echo()
        return
    text = "".join(dialogue.say(prompt))
    said = {"prompt": prompt, "text": text, "finish": dialogue.finish, "message": message_of(dialogue.turns[-1])}
    click.echo(json.dumps(said, ensure_ascii=False))
