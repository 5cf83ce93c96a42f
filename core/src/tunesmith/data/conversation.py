"""What a dataset's row becomes: the five kinds of example, and the turns and parts they are made of.

Everything here is immutable and knows no template, tokenizer or model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from numpy.typing import NDArray

Role: TypeAlias = Literal["system", "user", "assistant", "tool"]
MediaKind: TypeAlias = Literal["image", "video", "audio"]


@dataclass(frozen=True, slots=True)
class Text:
    """Plain words. Special tokens that appear in it stay words."""

    text: str


@dataclass(frozen=True, slots=True)
class Thought:
    """The model's reasoning, without the tags that a template puts around it."""

    text: str


@dataclass(frozen=True, slots=True)
class Call:
    """The model asks for a tool. ``arguments`` is the parsed JSON object, keys in their given order."""

    name: str
    arguments: Mapping[str, Any]
    id: str | None = None


@dataclass(frozen=True, slots=True)
class Result:
    """What a tool answered, as the text the model gets to read."""

    content: str
    name: str | None = None
    id: str | None = None


@dataclass(frozen=True, slots=True)
class Media:
    """An image, video or audio file that belongs at this place of the turn.

    ``data``: its bytes, where the file will be gone by the time they are needed; ``path`` only names it then.
    """

    kind: MediaKind
    path: str
    data: bytes = field(default=b"", repr=False)


Part: TypeAlias = Text | Thought | Call | Result | Media


@dataclass(frozen=True, slots=True)
class Turn:
    """What one role says at once.

    ``weight`` scales the loss of the turn's tokens; ``None`` means 1.0 for the assistant and 0.0 for everyone else.
    """

    role: Role
    parts: tuple[Part, ...]
    weight: float | None = None

    @property
    def loss_weight(self) -> float:
        """The weight with its default filled in."""
        if self.weight is not None:
            return self.weight
        return 1.0 if self.role == "assistant" else 0.0

    @property
    def text(self) -> str:
        """The turn's plain text, parts joined without anything between."""
        return "".join(part.text for part in self.parts if isinstance(part, Text))


@dataclass(frozen=True, slots=True)
class Conversation:
    """Turns in order. ``tools`` are OpenAI tool objects (``{"type": "function", "function": {…}}``), kept verbatim.

    ``thinking``: whether the next answer thinks first; ``effort``: how much. ``None`` leaves it to the run's keys.
    """

    turns: tuple[Turn, ...]
    tools: tuple[Mapping[str, Any], ...] = ()
    thinking: bool | None = None
    effort: str | None = None

    @property
    def media(self) -> tuple[Media, ...]:
        """All images, videos and audio, in order."""
        return tuple(part for turn in self.turns for part in turn.parts if isinstance(part, Media))


@dataclass(frozen=True, slots=True)
class Preference:
    """A prompt with a better and a worse answer (DPO, reward model). The answers are assistant turns."""

    prompt: Conversation
    chosen: tuple[Turn, ...]
    rejected: tuple[Turn, ...]


@dataclass(frozen=True, slots=True)
class Feedback:
    """A conversation whose last answer somebody liked or did not (KTO)."""

    conversation: Conversation
    desirable: bool


@dataclass(frozen=True, slots=True)
class Document:
    """Plain text to learn as it stands (pre-training)."""

    text: str


@dataclass(frozen=True, slots=True)
class Prompt:
    """A conversation that ends where generation starts; ``extras`` are the row's other columns, for rewards to read."""

    conversation: Conversation
    extras: Mapping[str, Any] = field(default_factory=dict)


Example: TypeAlias = Conversation | Preference | Feedback | Document | Prompt

#: The name of each kind of example, as format and trainer specs state it.
EXAMPLE_KINDS: Mapping[str, type] = {
    "conversation": Conversation,
    "preference": Preference,
    "feedback": Feedback,
    "document": Document,
    "prompt": Prompt,
}


class Piece(NamedTuple):
    """A stretch of rendered text. A tuple, since every row makes several and a frozen dataclass takes twice as long to make.

    ``control``: the template's own words, in which special tokens are tokens; otherwise somebody's content, in which
    they are plain text. ``weight``: 0.0 is seen and not learned, 1.0 is learned in full.
    """

    text: str
    control: bool
    weight: float = 0.0


@dataclass(frozen=True, slots=True)
class Rendered:
    """A conversation as a model reads it. The border between prompt and answer is always a border between pieces.

    ``end``: the token that the model ends the last answer with, where the template's text has no place for it. It is no part
    of the text; training rows learn it, since an answer without an end teaches a model to go on for ever.

    ``rewritten``: the indexes of learned turns that stand here otherwise than the model would write them in their time, as
    where reasoning of earlier turns is dropped. Training gives every answer an example of its own then.

    ``media``: what is seen or heard, in order; ``media_at``: for each the index of the piece that stands for it.
    """

    pieces: tuple[Piece, ...]
    media: tuple[Media, ...] = ()
    end: str = ""
    rewritten: frozenset[int] = frozenset()
    media_at: tuple[int, ...] = ()

    @property
    def text(self) -> str:
        """The whole text."""
        return "".join(piece.text for piece in self.pieces)

    @property
    def learned(self) -> tuple[tuple[int, int], ...]:
        """Character ranges ``[start, end)`` with a weight above zero, neighbours joined."""
        spans: list[tuple[int, int]] = []
        at = 0
        for piece in self.pieces:
            end = at + len(piece.text)
            if piece.weight > 0 and piece.text:
                if spans and spans[-1][1] == at:
                    spans[-1] = (spans[-1][0], end)
                else:
                    spans.append((at, end))
            at = end
        return tuple(spans)


@dataclass(frozen=True, slots=True)
class Tokens:
    """Token ids with the loss weight of each: ``len(ids) == len(weights)``; weight 0.0 = seen, not learned.

    Prepared data holds them as arrays (int32 and float32).
    """

    ids: tuple[int, ...] | list[int] | NDArray[Any]
    weights: tuple[float, ...] | list[float] | NDArray[Any]
    media: tuple[Media, ...] = ()
