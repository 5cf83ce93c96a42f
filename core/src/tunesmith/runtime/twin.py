"""A second model over the same weights: its own modules, and every weight once in memory."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tunesmith.errors import TunesmithError

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel


@dataclass(frozen=True)
class Twin:
    """A model that can be copied without copying weights, as long as they do not move.

    :param model: the twin.
    :param marks: the weights and what shows that one was changed: where it lies, and how often it was written.
    """

    model: PreTrainedModel
    marks: tuple[tuple[str, torch.Tensor, tuple[int, int]], ...]

    @classmethod
    def of(cls, model: PreTrainedModel) -> Twin:
        """A twin of ``model`` as it is now; adapters that are put on one do not show on the other."""
        model.requires_grad_(False)  # under an adapter they do not learn; whoever lets one learn all the same is found out
        held = [*model.named_parameters(), *model.named_buffers()]
        shared = {id(tensor): tensor for _, tensor in held}
        return cls(deepcopy(model, shared), tuple((name, tensor, _mark(tensor)) for name, tensor in held))

    def another(self) -> PreTrainedModel:
        """One more model over the same weights."""
        return deepcopy(self.model, {id(tensor): tensor for _, tensor, _ in self.marks})

    def check(self) -> None:
        """Make sure that what was done to the first model left the weights alone, and will.

        :raises TunesmithError: it did not.
        """
        moved = next((name for name, one, mark in self.marks if one.requires_grad or _mark(one) != mark), None)
        if moved is not None:
            raise TunesmithError(
                f"The tuner changes the weights it starts from ({moved}), so that no other model can share them.",
                "Give the reference or reward model as a whole model of its own, or start the tuner in another way.",
            )


def _mark(tensor: torch.Tensor) -> tuple[int, int]:
    return tensor.data_ptr(), tensor._version
