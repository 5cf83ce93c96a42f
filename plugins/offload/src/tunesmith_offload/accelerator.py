"""Gradient checkpointing whose kept activations wait in CPU memory."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from tunesmith import TunesmithError
from tunesmith.contracts import Accelerator

from tunesmith_offload.saved import OnCpu, Traffic

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedModel
    from tunesmith.plan import Plan


class OffloadAccelerator(Accelerator):
    """Frees ``layers × rows × tokens × width`` numbers on the device for one copy there and one back per layer and step.

    What is computed stays the same: the very activations come back. ``traffic`` counts them.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.traffic = Traffic()

    def before_load(self, plan: Plan) -> None:
        """Nothing to do: only a model that exists can be told how to checkpoint."""

    def arguments(self, plan: Plan) -> dict[str, Any]:
        """Gradient checkpointing is on."""
        return {"activation_checkpointing": True}

    def after_load(self, model: PreTrainedModel) -> PreTrainedModel:
        """From now on, whoever turns gradient checkpointing on for ``model`` turns this on.

        transformers' trainer turns it on when training starts, with the arguments of the run.

        :raises TunesmithError: the model has no gradient checkpointing.
        """
        if not model.supports_gradient_checkpointing:
            message = f"use_unsloth_gc: {type(model).__name__} has no gradient checkpointing."
            raise TunesmithError(message, "Leave use_unsloth_gc out.")
        usual = model.activation_checkpointing_enable

        def enable(activation_checkpointing_kwargs: Any = None, every_n_layers: int = 1, offload: bool = False) -> None:
            """Turn gradient checkpointing on, with activations in CPU memory; ``offload`` is granted anyway."""
            usual(activation_checkpointing_kwargs, every_n_layers=every_n_layers)
            self._wrap(model)

        model.activation_checkpointing_enable = enable
        return model

    def _wrap(self, model: nn.Module) -> None:
        checkpointing = [module for module in model.modules() if hasattr(module, "_gradient_checkpointing_func")]
        if not checkpointing:
            raise RuntimeError(f"{type(model).__name__} checkpoints in a way that cannot be reached")
        for module in checkpointing:
            module._gradient_checkpointing_func = partial(self._checkpoint, module._gradient_checkpointing_func)

    def _checkpoint(self, usual: Callable[..., Any], function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        with OnCpu(self.traffic):
            return usual(function, *args, **kwargs)
