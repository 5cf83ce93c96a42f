"""Answers for scripts: nothing but answers on standard output."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

import click
from tunesmith.data.conversation import Media
from tunesmith.data.openai_answers import message_of
from tunesmith.dialogue import Dialogue

CLEAR = "/clear"


def answer_prompts(dialogue: Dialogue, prompts: Iterable[str], as_json: bool, images: Sequence[Media] = ()) -> None:
    """Print the answer to each prompt, each a further turn of one conversation; ``images`` are shown with the first."""
    for prompt in prompts:
        answer(dialogue, prompt, as_json, images)
        images = ()


def answer_lines(dialogue: Dialogue, lines: Iterable[str], as_json: bool, images: Sequence[Media] = ()) -> None:
    """The same for the lines of a file; ``/clear`` forgets what came before, empty lines count for nothing."""
    for line in lines:
        prompt = line.strip()
        if prompt == CLEAR:
            dialogue.clear()
        elif prompt:
            answer(dialogue, prompt, as_json, images)
            images = ()


def answer(dialogue: Dialogue, prompt: str, as_json: bool, images: Sequence[Media] = ()) -> None:
    """Print one answer: as plain text while it comes, or as a JSON object on one line once it is whole."""
    if not as_json:
        for text in dialogue.say(prompt, images):
            click.echo(text, nl=False)
        click.echo()
        return
    text = "".join(dialogue.say(prompt, images))
    said = {"prompt": prompt, "text": text, "finish": dialogue.finish, "message": message_of(dialogue.turns[-1])}
    click.echo(json.dumps(said, ensure_ascii=False))
