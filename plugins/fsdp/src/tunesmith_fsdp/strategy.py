"""The strategy ``fsdp``: weights, gradients and optimizer state in parts, by torch's ``fully_shard`` (Zhao et al. 2023,
arXiv:2304.11277), on every device whose processes can talk."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule
from tunesmith import TunesmithError
from tunesmith.runtime.data_parallel import DataParallel
from tunesmith.runtime.precision import half_wanted, is_on
from tunesmith.runtime.tensor_tree import is_saved, load_tree, save_tree
from tunesmith.runtime.whole_weights import in_place

from tunesmith_fsdp.checks import config_of
from tunesmith_fsdp.config import ASKED
from tunesmith_fsdp.optimizer_parts import as_parts, own_parts
from tunesmith_fsdp.sharding import is_part, mesh_of, parts_in_place, shard

if TYPE_CHECKING:
    from transformers import PreTrainedModel
    from tunesmith.plan import Plan

log = logging.getLogger(__name__)


class Fsdp(DataParallel):
    """Weights are shared out where they are loaded, so that accelerate has nothing to wrap: on a processor it would take
    DDP without a word. Checkpoints hold whole weights and each process's part of the optimizer, without pickle."""

    def __init__(self, plan: Plan) -> None:
        super().__init__(plan)
        self.config = config_of(plan)
        os.environ.pop(ASKED, None)  # or accelerate and transformers would do it a second time
        self._device = torch.device("cpu")
        self._mesh: DeviceMesh | None = None

    def arguments(self) -> dict[str, Any]:
        """Parts in CPU memory need processes that can talk about them there."""
        device = torch.accelerator.current_accelerator(check_available=True)
        if not self.config.offload or device is None or is_on(self.plan, "use_cpu"):
            return {}
        there = dist.get_default_backend_for_device(device.type)
        return {"ddp_backend": f"cpu:{dist.get_default_backend_for_device('cpu')},{device.type}:{there}"}

    def placement(self, device: torch.device) -> dict[str, Any]:
        """Whole weights are read into CPU memory, since no device may be able to hold them."""
        self._device = device
        return {"device_map": {"": "cpu"}}

    def share(self, model: PreTrainedModel) -> PreTrainedModel:
        """Share the model out, layer by layer."""
        self._shard(model, self._half())
        return model

    def frozen(self, model: PreTrainedModel, trainer: Any) -> PreTrainedModel:
        """A model that does not learn is shared out as well."""
        self._shard(model, None)
        return model

    def _shard(self, model: PreTrainedModel, half: torch.dtype | None) -> None:
        if self._mesh is None:
            self._mesh = mesh_of(self.config, self._device, int(os.environ.get("WORLD_SIZE", "1")))
        shard(model, self._mesh, self.config, half)

    def _half(self) -> torch.dtype | None:
        """What autocast would compute in; pure half precision needs no second format."""
        wanted = half_wanted(self.plan)
        return getattr(torch, wanted) if wanted and not is_on(self.plan, "pure_bf16") else None

    def wrap_check(self, model: Any, processes: int) -> None:
        """Every weight that learns must lie in parts, over all the processes.

        :raises TunesmithError: one does not.
        """
        if not any(isinstance(module, FSDPModule) for module in model.modules()):
            raise TunesmithError(f"The run was to be FSDP's, and the model is a {type(model).__name__}.")
        for name, weight in model.named_parameters():
            if weight.requires_grad and not (is_part(weight) and weight.device_mesh.size() == processes):
                raise TunesmithError(f"The run was to be FSDP's, and {name} is not shared out over {processes} processes.")

    def whole(self, model: PreTrainedModel, *, added: bool) -> AbstractContextManager[None]:
        """Every weight is gathered one after the other into the CPU memory of the first process."""
        return self._gathered(model, added)

    @contextmanager
    def _gathered(self, model: PreTrainedModel, added: bool) -> Iterator[None]:
        parts_in_place(model)
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


def _gather(weight: torch.nn.Parameter) -> torch.Tensor | None:
    whole = weight.detach().full_tensor()
    return whole.to("cpu", copy=True) if dist.get_rank() == 0 else None
