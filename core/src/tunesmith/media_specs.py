"""What a reader of images, videos and audio declares."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tunesmith.spec import Spec


@dataclass(frozen=True)
class MediaSpec(Spec):
    """Reads what is no text, for models that come with a processor; ``load`` names a
    :class:`~tunesmith.contracts.MediaReader`. Its options count in every run: what rows hold is not known before.

    :param kinds: what it reads.
    """

    kinds: tuple[Literal["image", "video", "audio"], ...] = ()
