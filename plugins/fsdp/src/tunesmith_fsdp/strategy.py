"""The strategy ``fsdp``: weights, gradients and optimizer state in parts, by torch's ``fully_shard`` (Zhao et al. 2023,
arXiv:2304.11277), on every device whose processes can talk."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule
from tunesmith import TunesmithError
from tunesmith.runtime.precision import half_wanted, is_on
from tunesmith.runtime.weights_in_parts import WeightsInParts, is_part

from tunesmith_fsdp.checks import config_of
from tunesmith_fsdp.config import ASKED
from tunesmith_fsdp.sharding import mesh_of, parts_in_place, shard

if TYPE_CHECKING:
    from transformers import PreTrainedModel
    from tunesmith.plan import Plan


class Fsdp(WeightsInParts):
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

    def settle(self, model: PreTrainedModel) -> None:
        """Give back what is still gathered."""
        parts_in_place(model)
