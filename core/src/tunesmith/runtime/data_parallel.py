"""The strategy ``ddp``: every process holds the whole model; gradients are averaged (torch's DistributedDataParallel)."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch.nn.parallel import DistributedDataParallel

from tunesmith.contracts import Strategy
from tunesmith.errors import TunesmithError
from tunesmith.runtime.tensor_tree import is_saved, load_tree, save_tree

if TYPE_CHECKING:
    from tunesmith.plan import Plan

log = logging.getLogger(__name__)


class DataParallel(Strategy):
    """One process with a plain model, or several that each hold a copy. Its checkpoints hold no pickle."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan

    def wrap_check(self, model: Any, processes: int) -> None:
        """Several processes must average their gradients, or each would learn its own model.

        :raises TunesmithError: they do not.
        """
        if processes > 1 and not isinstance(model, DistributedDataParallel):
            raise TunesmithError(f"{processes} processes train a {type(model).__name__} that none of them shares with another.")

    def save(self, trainer: Any, folder: Path) -> None:
        """The first process writes what all of them hold."""
        if trainer.args.should_save:
            save_tree(folder / "optimizer", trainer.optimizer.state_dict())
            save_tree(folder / "scheduler", trainer.lr_scheduler.state_dict())

    def resume(self, trainer: Any, folder: Path) -> None:
        """Every process reads it."""
        if is_saved(folder / "optimizer"):
            trainer.optimizer.load_state_dict(load_tree(folder / "optimizer"))
            trainer.lr_scheduler.load_state_dict(load_tree(folder / "scheduler"))
        else:
            log.warning("%s holds weights only (save_only_model): the optimizer starts anew.", folder)
