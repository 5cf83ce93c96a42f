"""A renderer whose texts hold as many placeholder tokens for media as a model wants."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunesmith.contracts import MediaReader, Renderer
from tunesmith.data.conversation import Conversation, Rendered, Turn

if TYPE_CHECKING:
    from tunesmith.plan import Plan
    from tunesmith.plugins import Plugins

#: What shows that a model comes with a processor, and is kept beside whatever is made of it.
PROCESSOR_FILES = ("preprocessor_config.json", "processor_config.json", "video_preprocessor_config.json")


class MediaRenderer(Renderer):
    """Another renderer with a reader of media."""

    def __init__(self, inner: Any, reader: MediaReader) -> None:
        self._inner = inner
        self.media = reader
        self.name, self.stop = inner.name, inner.stop
        self.fingerprint = hashlib.sha256(f"{inner.fingerprint} {reader.fingerprint}".encode()).hexdigest()

    def __getattr__(self, name: str) -> Any:
        if name == "_inner":  # while it is being unpickled
            raise AttributeError(name)
        return getattr(self._inner, name)

    def with_options(self, **changes: Any) -> MediaRenderer:
        """The same with other options of the template."""
        assert self.media is not None
        return MediaRenderer(self._inner.with_options(**changes), self.media)

    def render(self, conversation: Conversation, *, generation_prompt: bool = False) -> Rendered:
        """Render every turn; see :meth:`tunesmith.contracts.Renderer.render`."""
        rendered: Rendered = self._inner.render(conversation, generation_prompt=generation_prompt)
        return self.media.expand(rendered) if rendered.media and self.media is not None else rendered

    def parse_reply(self, text: str, tools: Sequence[Mapping[str, Any]] = ()) -> Turn:
        """As the other one reads it."""
        turn: Turn = self._inner.parse_reply(text, tools)
        return turn

    def chat_template(self) -> str:
        """The template as Jinja, with one placeholder for each of the media: the model's processor expands them."""
        text: str = self._inner.chat_template()
        return text

    def ollama(self) -> str:
        """As the other one writes it."""
        text: str = self._inner.ollama()
        return text


def copy_processor(source: Path, target: Path) -> None:
    """Put the files of a model's processor, where it has one, beside what was made of the model."""
    for name in PROCESSOR_FILES:
        if (source / name).is_file() and source.resolve() != target.resolve():
            (target / name).write_bytes((source / name).read_bytes())


def seeing(renderer: Renderer, plan: Plan, plugins: Plugins, folder: Path) -> Renderer:
    """The renderer with a reader of media, where the model in ``folder`` has a processor and a plugin can use it."""
    if not any((folder / name).is_file() for name in PROCESSOR_FILES):
        return renderer
    offer = next(iter(plugins.media), None)
    return renderer if offer is None else MediaRenderer(renderer, offer.load()(plan, folder))
