"""Attention kernels that transformers knows by name and that this package answers for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from tunesmith import TunesmithError
from tunesmith.contracts import Accelerator

from tunesmith_flash_attention.plugin import KERNELS

if TYPE_CHECKING:
    from transformers import PreTrainedModel
    from tunesmith.plan import Plan

#: The compute capability (major) from which on a kernel runs: Ampere; Hopper.
CAPABILITY = {"fa2": 8, "fa3": 9}


class AttentionKernel(Accelerator):
    """Sees that the model really uses the kernel. The host asks transformers for it when it loads the weights."""

    def __init__(self, plan: Plan) -> None:
        self.value = str(plan["flash_attn"])
        self.kernel = next(spec.attention for spec in KERNELS if spec.name == self.value)

    def before_load(self, plan: Plan) -> None:
        """The device is of a generation that the kernel was written for.

        :raises TunesmithError: it is an older one.
        """
        device = torch.accelerator.current_accelerator()
        if device is None or torch.version.hip or self.value not in CAPABILITY:
            return
        module = torch.get_device_module(device)
        if isinstance(has := module.get_device_capability(), tuple):
            check_capability(self.value, has, module.get_device_name())

    def after_load(self, model: PreTrainedModel) -> PreTrainedModel:
        """The model and each of its parts compute attention with it.

        :raises TunesmithError: one does not.
        """
        for name, found in kernels_of(model).items():
            if found != self.kernel:
                raise TunesmithError(
                    f"flash_attn: {self.value} was asked for, and {name} of {type(model).__name__} uses {found}.",
                    f"Write flash_attn: {found}, or auto.",
                )
        return model


def check_capability(value: str, capability: tuple[int, int], device: str) -> None:
    """Raise unless a device of this compute capability runs the kernel."""
    if capability[0] < CAPABILITY[value]:
        has = ".".join(map(str, capability))
        what = f"flash_attn: {value} needs compute capability {CAPABILITY[value]}.0, and {device} has {has}."
        raise TunesmithError(what, "Write flash_attn: sdpa.")


def kernels_of(model: Any) -> dict[str, str]:
    """The kernel of the text model, by transformers' name for it; towers for other media choose for themselves."""
    config = model.config.get_text_config()
    return {"the text model": str(config._attn_implementation)}
