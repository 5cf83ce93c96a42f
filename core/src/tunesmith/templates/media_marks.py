"""Where media stand in a text: marks while a conversation is rendered, then the template's own words for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tunesmith.data.conversation import Media, Piece, Rendered
from tunesmith.templates.model import MediaForm

#: Stands for one of the media of a turn: a code point that is no character and never will be.
MARK = "\ufdd0"


def with_media(rendered: Rendered, media: Sequence[Media], form: MediaForm) -> Rendered:
    """The text with the template's words in place of every mark, in control pieces of their own."""
    pieces: list[Piece] = []
    at: list[int] = []
    for piece in rendered.pieces:
        first, *others = piece.text.split(MARK)
        if first or not others:
            pieces.append(piece._replace(text=first))
        for words in others:
            pieces.append(Piece(form.texts[media[len(at)].kind], True, piece.weight))
            at.append(len(pieces) - 1)
            if words:
                pieces.append(piece._replace(text=words))
    return replace(rendered, pieces=tuple(pieces), media=tuple(media), media_at=tuple(at))


def flattening(form: MediaForm) -> str:
    """Jinja that turns contents made of parts into text, so that what follows it need only know text."""
    kinds = "".join(
        f"{{%- elif part.type in ['{kind}', '{kind}_url'] %}}{{%- set {'seen' if form.first else 'words'}.text = "
        f"{'seen' if form.first else 'words'}.text + {text!r} %}}"
        for kind, text in form.texts.items()
    )
    return (
        "{%- set flat = namespace(messages=[]) %}{%- for message in messages %}"
        "{%- if message.content is defined and message.content is not string and message.content is iterable"
        " and message.content is not mapping %}"
        "{%- set words = namespace(text='') %}{%- set seen = namespace(text='') %}{%- for part in message.content %}"
        "{%- if part.type == 'text' %}{%- set words.text = words.text + part.text %}"
        f"{kinds}"
        "{%- else %}{{ raise_exception('this template has no place for ' + part.type) }}{%- endif %}{%- endfor %}"
        "{%- set flat.messages = flat.messages + [dict(message, content=seen.text + words.text)] %}"
        "{%- else %}{%- set flat.messages = flat.messages + [message] %}{%- endif %}{%- endfor %}"
        "{%- set messages = flat.messages %}"
    )
