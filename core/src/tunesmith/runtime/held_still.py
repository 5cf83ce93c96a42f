"""Parts of a model that a run keeps as they are, whichever tuner it has: what sees and hears, say."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tunesmith.errors import TunesmithError

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedModel

    from tunesmith.contracts import MediaReader

_MARK = "_tunesmith_held_still"


def settle_media(model: PreTrainedModel, reader: MediaReader, processes: int) -> None:
    """Let the reader of what is no text say which parts of a model stay, and fit it for several processes."""
    mark_still(model, reader.still(model))
    if processes > 1:
        reader.look_along(model)


def mark_still(model: PreTrainedModel, parts: Sequence[str]) -> None:
    """Note which parts must not move, before a tuner acts.

    :param parts: names as ``get_submodule`` wants them.
    """
    for part in parts:
        setattr(model.get_submodule(part), _MARK, True)


def held_still(model: nn.Module) -> frozenset[int]:
    """The ids of all modules inside parts that must not move."""
    parts = [module for module in model.modules() if getattr(module, _MARK, False)]
    return frozenset(id(inner) for part in parts for inner in part.modules())


def hold_still(model: nn.Module) -> None:
    """Take the marked parts out of what learns, whatever a tuner did to them.

    :raises TunesmithError: nothing is left to learn.
    """
    parts = [module for module in model.modules() if getattr(module, _MARK, False)]
    for part in parts:
        part.requires_grad_(False)
    if parts and not any(parameter.requires_grad for parameter in model.parameters()):
        raise TunesmithError("Nothing is left to learn: all that the tuner chose is kept as it is.", "Let go of a part of it.")
