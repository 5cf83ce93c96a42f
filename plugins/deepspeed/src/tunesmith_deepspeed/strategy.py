"""The strategy ``deepspeed``: ZeRO (Rajbhandari et al. 2020, arXiv:1910.02054) through transformers' own integration."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import deepspeed
import torch
import torch.distributed as dist
from accelerate.utils import DeepSpeedSchedulerWrapper
from deepspeed.runtime.engine import DeepSpeedEngine
from transformers.integrations import is_deepspeed_zero3_enabled
from tunesmith import TunesmithError
from tunesmith.runtime.data_parallel import DataParallel
from tunesmith.runtime.tensor_tree import is_saved, load_tree, save_tree
from tunesmith.runtime.whole_weights import in_place

from tunesmith_deepspeed.config import read_config, stage_of
from tunesmith_deepspeed.options import DeepspeedOptions

if TYPE_CHECKING:
    from transformers import PreTrainedModel
    from tunesmith.plan import Plan

#: An operator with which processes on a processor talk. It would be compiled on first use, for minutes; gloo is there already.
SHARED_MEMORY = "deepspeed_shm_comm"


class DeepSpeed(DataParallel):
    """Optimizer state (stage 1), gradients (2) and weights (3) in parts. Its checkpoints hold pickle, as is DeepSpeed's way."""

    def __init__(self, plan: Plan) -> None:
        super().__init__(plan)
        options = plan.options(DeepspeedOptions)
        given = options.deepspeed is not None or options.deepspeed_config is not None
        self.config: dict[str, Any] | None = None
        if given:  # else accelerate launch has its own
            self.config, _ = read_config(options.deepspeed, options.deepspeed_config, Path(plan.config_folder))
            if plan["pure_bf16"]:
                self.config["bf16"] = {"enabled": True}
        self._engines: list[Any] = []
        deepspeed.ops.__compatible_ops__[SHARED_MEMORY] = False

    def arguments(self) -> dict[str, Any]:
        """The configuration as a mapping; transformers replaces each ``"auto"``."""
        return {"deepspeed": self.config} if self.config is not None else {}

    def placement(self, device: torch.device) -> dict[str, Any]:
        """With stage 3 the weights are shared out while they are read."""
        if not is_deepspeed_zero3_enabled():
            return super().placement(device)
        if not deepspeed.comm.is_initialized():  # else it would count one process when it shares the first weights out
            deepspeed.init_distributed(dist.get_backend(), auto_mpi_discovery=False)
        return {}

    def holds_formats(self) -> bool:
        """DeepSpeed keeps its own copy in float32, and computes in the format of its configuration."""
        return True

    def reads_back(self) -> bool:
        """A model in parts cannot be opened anew beside itself."""
        return True

    def frozen(self, model: PreTrainedModel, trainer: Any) -> PreTrainedModel:
        """Let stage 3 gather the weights of a model that does not learn, as it does for the one that does."""
        if not is_deepspeed_zero3_enabled():
            return model
        config = {**trainer.accelerator.state.deepspeed_plugin.deepspeed_config}
        for learning in ("optimizer", "scheduler"):
            config.pop(learning, None)
        engine, *_ = deepspeed.initialize(model=model, config=config)
        engine.eval()
        self._engines.append(engine)  # its hooks are on the model, and go with it
        return model

    def wrap_check(self, model: Any, processes: int) -> None:
        """The model must be DeepSpeed's, at the stage that was asked for.

        :raises TunesmithError: it is not.
        """
        if not isinstance(model, DeepSpeedEngine):
            raise TunesmithError(f"The run was to be DeepSpeed's, and the model is a {type(model).__name__}.")
        if self.config is not None and model.zero_optimization_stage() != stage_of(self.config):
            raise TunesmithError(f"DeepSpeed runs at stage {model.zero_optimization_stage()}, not {stage_of(self.config)}.")

    def whole(self, model: PreTrainedModel, *, added: bool) -> AbstractContextManager[None]:
        """With stage 3, every weight is gathered one after the other into the CPU memory of the first process."""
        if not is_deepspeed_zero3_enabled():
            return nullcontext()
        return self._gathered(model, added)

    @contextmanager
    def _gathered(self, model: PreTrainedModel, added: bool) -> Iterator[None]:
        with in_place(model, _gather, lambda weight: hasattr(weight, "ds_id") and (weight.requires_grad or not added)):
            yield

    def save(self, trainer: Any, folder: Path) -> None:
        """DeepSpeed's own format for its parts; frozen weights under an adapter are left out."""
        trainer.model_wrapped.save_checkpoint(str(folder), exclude_frozen_parameters=hasattr(trainer.model, "peft_config"))
        if trainer.args.should_save and not isinstance(trainer.lr_scheduler, DeepSpeedSchedulerWrapper):
            save_tree(folder / "scheduler", trainer.lr_scheduler.state_dict())

    def resume(self, trainer: Any, folder: Path) -> None:
        """transformers has let DeepSpeed read its parts; what is left is a scheduler that is not DeepSpeed's."""
        if is_saved(folder / "scheduler"):
            trainer.lr_scheduler.load_state_dict(load_tree(folder / "scheduler"))


def _gather(weight: torch.nn.Parameter) -> torch.Tensor | None:
    with deepspeed.zero.GatheredParameters([weight], modifier_rank=None):
        return weight.data.detach().to("cpu", copy=True) if dist.get_rank() == 0 else None
