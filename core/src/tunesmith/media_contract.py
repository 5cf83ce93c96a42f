"""What a reader of images, videos and audio must be able to do."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

    from tunesmith.data.conversation import Media, Rendered


class MediaReader(Protocol):
    """Brings what is no text before a model. Made as ``reader(plan, folder)`` with the folder of the model's processor.

    It is sent to other processes, and making it must import nothing heavy: most rows hold text only.
    """

    fingerprint: str
    """Changes whenever what stands for media in a text could change."""

    @abstractmethod
    def expand(self, rendered: Rendered) -> Rendered:
        """A rendered conversation with as many placeholder tokens as each of its media takes, in control pieces.

        ``media_at`` points to those pieces, and ``media`` names files by their whole paths.

        :raises BadMedia: a file is not there, cannot be read, lies outside the folder allowed, or is too large.
        """

    @abstractmethod
    def inputs(self, ids: torch.Tensor, media: Sequence[Media]) -> dict[str, Any]:
        """What the model wants beside ``ids`` (rows, length): pixels, sizes, kinds of tokens, ….

        :param media: of all rows in their order; empty where a batch holds text only.
        :raises TunesmithError: a file is not what it was when the ids were made.
        """

    def look_along(self, model: PreTrainedModel) -> None:
        """Fit ``model`` for several processes, some of whose batches may hold text only: all must use the same parts."""

    def still(self, model: PreTrainedModel) -> Sequence[str]:
        """Names of the parts of ``model`` that are not to learn, as ``get_submodule`` wants them."""
        return ()
