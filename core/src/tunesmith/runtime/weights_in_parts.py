"""A strategy whose weights lie in parts (torch's DTensor): made whole to be saved, beside each one's part of the optimizer."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
from torch.distributed.tensor import DTensor

from tunesmith.runtime.data_parallel import DataParallel
from tunesmith.runtime.tensor_tree import is_saved, load_tree, save_tree
from tunesmith.runtime.whole_weights import in_place

if TYPE_CHECKING:
    from transformers import PreTrainedModel

log = logging.getLogger(__name__)


class WeightsInParts(DataParallel):
    """Results and checkpoints hold whole weights; each process adds its own part of the optimizer's state, without pickle."""

    def whole(self, model: PreTrainedModel, *, added: bool) -> AbstractContextManager[None]:
        """Every weight is gathered one after the other into the CPU memory of the first process."""
        return self._gathered(model, added)

    def settle(self, model: PreTrainedModel) -> None:
        """See that modules hold their parts, before these are gathered."""

    @contextmanager
    def _gathered(self, model: PreTrainedModel, added: bool) -> Iterator[None]:
        self.settle(model)
        with in_place(model, _gather, lambda weight: is_part(weight) and (weight.requires_grad or not added)):
            yield

    def save(self, trainer: Any, folder: Path) -> None:
        """Every process writes its own part of the optimizer's state."""
        save_tree(folder / f"optimizer-{trainer.args.process_index}", own_parts(trainer.optimizer.state_dict()))
        if trainer.args.should_save:
            save_tree(folder / "scheduler", trainer.lr_scheduler.state_dict())

    def resume(self, trainer: Any, folder: Path) -> None:
        """Every process reads its own part."""
        mine = folder / f"optimizer-{trainer.args.process_index}"
        if is_saved(mine):
            trainer.optimizer.load_state_dict(as_parts(load_tree(mine), trainer.optimizer))
            trainer.lr_scheduler.load_state_dict(load_tree(folder / "scheduler"))
        else:
            log.warning("%s holds weights only (save_only_model): the optimizer starts anew.", folder)


def is_part(weight: Any) -> bool:
    """Whether this process holds a part of the weight only."""
    return isinstance(weight, DTensor)


def _gather(weight: torch.nn.Parameter) -> torch.Tensor | None:
    whole = weight.detach().full_tensor()
    return whole.to("cpu", copy=True) if dist.get_rank() == 0 else None


# ---- the optimizer's state -------------------------------------------------------------------------------------------


def own_parts(state: Any) -> Any:
    """A state dictionary in which this process's part stands for every tensor that lies in parts."""
    if isinstance(state, DTensor):
        return state.to_local()
    if isinstance(state, dict):
        return {name: own_parts(one) for name, one in state.items()}
    if isinstance(state, (list, tuple)):
        return type(state)(own_parts(one) for one in state)
    return state


def as_parts(state: dict[str, Any], optimizer: Any) -> dict[str, Any]:
    """The same with parts again, laid out as the weights they belong to."""
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    held = {
        index: {name: _as_part(one, weights[int(index)]) for name, one in entries.items()}
        for index, entries in state["state"].items()
    }
    return {**state, "state": held}


def _as_part(one: Any, weight: Any) -> Any:
    """``one`` laid out as ``weight``, where it is as large as this process's part of it."""
    if not isinstance(weight, DTensor) or not isinstance(one, torch.Tensor) or one.dim() == 0:
        return one
    part = torch.zeros_like(weight, dtype=one.dtype, requires_grad=False)
    if one.shape != part.to_local().shape:
        return one
    with torch.no_grad():
        part.to_local().copy_(one)
    return part
