"""``template: auto`` for models that see: how the tokenizer's own template writes a picture is found by asking it about one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

from tunesmith.data.conversation import Conversation, Media, Rendered, Text, Turn
from tunesmith.errors import TunesmithError
from tunesmith.templates.auto import AutoRenderer
from tunesmith.templates.media_marks import MARK, with_media
from tunesmith.templates.model import MediaForm
from tunesmith.templates.sandbox import Refused

#: Words of the questions that the template is asked with.
_ONE, _TWO = "ONE", "TWO"
_INSTEAD = "Name the model's template (tunesmith template list)."


class SeeingAutoRenderer(AutoRenderer):
    """With a mark for each of the media while the text is made, and the template's own words for them afterwards."""

    def render(self, conversation: Conversation, *, generation_prompt: bool = False) -> Rendered:
        """Render every turn; see :meth:`tunesmith.contracts.Renderer.render`."""
        media = conversation.media
        if not media:
            return super().render(conversation, generation_prompt=generation_prompt)
        form = self._form_for(media)
        turns = (_flat(turn, number, form) for number, turn in enumerate(conversation.turns, start=1))
        rendered = super().render(replace(conversation, turns=tuple(turns)), generation_prompt=generation_prompt)
        if rendered.text.count(MARK) != len(media):
            raise TunesmithError("The tokenizer's own template leaves out a turn that holds media.", _INSTEAD)
        return with_media(rendered, media, form)

    def _form_for(self, media: Sequence[Media]) -> MediaForm:
        form = self._form
        for kind in {one.kind for one in media}:
            if form is None or kind not in form.texts:
                raise TunesmithError(f"The tokenizer's own template has no place for {kind}s beside text.", _INSTEAD)
        assert form is not None
        return form

    @cached_property
    def _form(self) -> MediaForm | None:
        """How it writes an image; ``None`` where it writes none, or otherwise writes parts than plain text."""
        try:
            plain, parts = (self._asked(content) for content in (_ONE + _TWO, [_text(_ONE), _text(_TWO)]))
            once = self._asked([_text(_ONE), {"type": "image"}, _text(_TWO)])
            twice = self._asked([_text(_ONE), {"type": "image"}, {"type": "image"}, _text(_TWO)])
        except Refused:
            return None
        start = plain.find(_ONE + _TWO)
        if start < 0 or parts != plain or len(once) <= len(plain):
            return None
        for at, first in ((start + len(_ONE), False), (start, True)):
            words = once[at : at + len(once) - len(plain)]
            if [plain[:at] + words * count + plain[at:] for count in (1, 2)] == [once, twice]:
                return MediaForm({"image": words}, first)
        return None

    def _asked(self, content: str | Sequence[Mapping[str, Any]]) -> str:
        return self._run([{"role": "user", "content": content}], (), True)


def _text(words: str) -> dict[str, str]:
    return {"type": "text", "text": words}


def _flat(turn: Turn, number: int, form: MediaForm) -> Turn:
    """The turn with a mark in place of each of its media."""
    count = sum(isinstance(part, Media) for part in turn.parts)
    if not count:
        return turn
    if turn.role != "user":
        raise TunesmithError(f"Turn {number} ({turn.role}) holds media, which only a user's turn can.")
    if MARK in turn.text:
        raise TunesmithError(f"Turn {number} ({turn.role}) holds the character U+FDD0, which no text may hold beside media.")
    marked = "".join(MARK if isinstance(part, Media) else part.text for part in turn.parts if isinstance(part, Media | Text))
    return replace(turn, parts=(Text(MARK * count + turn.text if form.first else marked),))
