"""The strategy ``tensor-parallel``: every layer is split over the processes (Shoeybi et al. 2019, arXiv:1909.08053), by the
plan that transformers has for the model, with torch's DTensor."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
from accelerate import Accelerator, DistributedType, ParallelismConfig
from torch.distributed.tensor import DTensor, Shard
from transformers.distributed import DistributedConfig
from tunesmith import TunesmithError
from tunesmith.runtime.value_head import under_adapter
from tunesmith.runtime.weights_in_parts import WeightsInParts, is_part

from tunesmith_tensor_parallel.options import TensorParallelOptions

if TYPE_CHECKING:
    from transformers import PreTrainedModel
    from tunesmith.plan import Plan


class OnAnyDevice(ParallelismConfig):
    """accelerate's sizes. It refuses processors, where all that it does with these works as it does elsewhere."""

    def _validate_accelerator(self, accelerator: Accelerator) -> None:
        if accelerator.distributed_type != DistributedType.MULTI_CPU:
            super()._validate_accelerator(accelerator)
        elif accelerator.num_processes != self.total_size:
            raise ValueError(f"{self.total_size} processes are to share the layers, and there are {accelerator.num_processes}.")


class TensorParallel(WeightsInParts):
    """Each process reads and holds its slices only. All of them learn from the same rows, so that a step is as large as that
    of one process."""

    def __init__(self, plan: Plan) -> None:
        super().__init__(plan)
        self.size = plan.options(TensorParallelOptions).tp_size

    def arguments(self) -> dict[str, Any]:
        """Let accelerate hand every process the same rows, and wrap nothing."""
        return {"parallelism_config": OnAnyDevice(tp_size=self.size)}

    def placement(self, device: torch.device) -> dict[str, Any]:
        """Each process reads its slices onto its device."""
        return {"distributed_config": DistributedConfig(tp_size=self.size)}

    def share(self, model: PreTrainedModel) -> PreTrainedModel:
        """See that what every process holds whole is the same in all of them, and stays so."""
        under_adapter(model)._is_distributed_loading_by_transformers = False  # it would refuse checkpoints, and these are ours
        for weight in model.parameters():
            if weight.requires_grad and not is_part(weight):
                dist.broadcast(weight.detach(), src=0)
                weight.register_post_accumulate_grad_hook(_average)
        return model

    def whole(self, model: PreTrainedModel, *, added: bool) -> AbstractContextManager[None]:
        """As a model that was never split: else all processes would write, and the file say how it was split."""
        return self._as_one(model, added)

    @contextmanager
    def _as_one(self, model: PreTrainedModel, added: bool) -> Iterator[None]:
        config = under_adapter(model).config
        split = config.__dict__.pop("distributed_config", None)
        try:
            with super().whole(model, added=added):
                yield
        finally:
            if split is not None:
                config.distributed_config = split

    def wrap_check(self, model: Any, processes: int) -> None:
        """Weights must lie in slices, over all the processes.

        :raises TunesmithError: they do not.
        """
        split = [weight for weight in model.parameters() if isinstance(weight, DTensor) and _in_slices(weight)]
        if not split:
            raise TunesmithError(f"The run was to be tensor-parallel, and no weight of {type(model).__name__} is split.")
        wrong = next((weight for weight in split if weight.device_mesh.size() != processes), None)
        if wrong is not None:
            raise TunesmithError(f"Weights are split over {wrong.device_mesh.size()} processes, and the run has {processes}.")


def _average(weight: torch.Tensor) -> None:
    dist.all_reduce(weight.grad, op=dist.ReduceOp.SUM)
    assert weight.grad is not None
    weight.grad /= dist.get_world_size()


def _in_slices(weight: DTensor) -> bool:
    return any(isinstance(placement, Shard) for placement in weight.placements)
