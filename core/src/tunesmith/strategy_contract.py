"""What a strategy must be able to do; re-exported by :mod:`tunesmith.contracts`."""

from __future__ import annotations

from abc import abstractmethod
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

    from tunesmith.plan import Plan


class Strategy(Protocol):
    """How the processes of a run share one model. Made as ``strategy(plan)``.

    Inherit from :class:`tunesmith.runtime.data_parallel.DataParallel` to write and read checkpoints as it does.
    """

    def __init__(self, plan: Plan) -> None: ...

    def arguments(self) -> dict[str, Any]:
        """Training arguments that it sets."""
        return {}

    def placement(self, device: torch.device) -> dict[str, Any]:
        """Keyword arguments of ``from_pretrained`` that say where the weights of a model that learns go."""
        return {"device_map": {"": device}}

    def holds_formats(self) -> bool:
        """Whether it decides in which number format the weights are held, so that nobody else may change it."""
        return False

    def reads_back(self) -> bool:
        """Whether the weights of the best checkpoint come from what :meth:`save` wrote, by transformers' own way."""
        return False

    def share(self, model: PreTrainedModel) -> PreTrainedModel:
        """Share out the model that learns once it is complete, with all that its tuner has added. Every process calls it.

        Most strategies leave it to the trainer's own wrapping, which comes later.

        :raises TunesmithError: it cannot be shared out.
        """
        return model

    def frozen(self, model: PreTrainedModel, trainer: Any) -> PreTrainedModel:
        """Make a model that does not learn (a reference, a reward model) ready to run beside the one that does."""
        return model

    def whole(self, model: PreTrainedModel, *, added: bool) -> AbstractContextManager[None]:
        """Within it, the first process can save ``model`` with plain code. Every process enters it.

        :param added: only what the tuner added to the model is needed.
        """
        return nullcontext()

    @abstractmethod
    def wrap_check(self, model: Any, processes: int) -> None:
        """Raise unless ``model``, as the trainer wrapped it, is shared in the way that this strategy promises."""

    @abstractmethod
    def save(self, trainer: Any, folder: Path) -> None:
        """Write the state of optimizer and scheduler into ``folder``. Every process calls it."""

    @abstractmethod
    def resume(self, trainer: Any, folder: Path) -> None:
        """Take up what :meth:`save` wrote. Every process calls it."""
