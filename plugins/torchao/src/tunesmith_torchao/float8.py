"""Products of weights and activations in 8-bit floating point while a model learns, by torchao.

Weights, activations and gradients are rounded to fp8, with one scale for each tensor that is found anew at each product,
multiplied by the device's own fp8 units, and summed in full; weights stay in the format they have (Micikevicius et al.,
https://arxiv.org/abs/2209.05433; torchao's ``float8`` is the code).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn
from torchao.float8 import Float8LinearConfig, convert_to_float8_training
from tunesmith import TunesmithError
from tunesmith.contracts import Accelerator

if TYPE_CHECKING:
    from transformers import PreTrainedModel
    from tunesmith.plan import Plan

#: The first compute capability of NVIDIA's with fp8 units (Ada).
CAPABILITY = (8, 9)
#: fp8 units take blocks of this many numbers.
BLOCK = 16
#: What chooses the experts of a token: small, and a wrong choice costs more than the product.
ROUTERS = ("gate", "router")


class Float8Training(Accelerator):
    """Lets the linear layers of each block compute in fp8; those before and behind the blocks (the head) stay as they are.

    It acts before the tuner does, so that what an adapter adds is computed in full.
    """

    #: Round as fp8 units do and multiply in full: what a test can do where there are none.
    emulate = False

    def __init__(self, plan: Plan) -> None:
        pass

    def before_load(self, plan: Plan) -> None:
        """The device has fp8 units.

        :raises TunesmithError: it is of an older generation.
        """
        device = torch.accelerator.current_accelerator()
        if device is None or torch.version.hip or self.emulate:
            return
        module = torch.get_device_module(device)
        if isinstance(has := module.get_device_capability(), tuple):
            check_capability(has, module.get_device_name())

    def after_load(self, model: PreTrainedModel) -> PreTrainedModel:
        """Let the layers that can compute in fp8.

        :raises TunesmithError: no layer of this model can.
        """
        # Rows of a batch are seldom a multiple of 16 tokens in all: the sum over them is filled up with zeros.
        config = Float8LinearConfig(pad_inner_dim=True, emulate=self.emulate)
        names = {name for name, module in model.named_modules() if _fits(name, module)}
        if not names:
            what = f"fp8: no layer of {type(model).__name__} has sides that are multiples of {BLOCK}, which fp8 units ask for."
            raise TunesmithError(what, "Leave fp8 out.")
        convert_to_float8_training(model, config=config, module_filter_fn=lambda _, name: name in names)
        return model


def _fits(name: str, module: nn.Module) -> bool:
    """Whether it is a plain linear layer of a block (blocks are numbered), with sides that fp8 units take."""
    parts = name.split(".")
    if type(module) is not nn.Linear or parts[-1] in ROUTERS or not any(part.isdecimal() for part in parts):
        return False
    return not (module.in_features % BLOCK or module.out_features % BLOCK)


def check_capability(capability: tuple[int, int], device: str) -> None:
    """Raise unless a device of this compute capability has fp8 units."""
    if capability < CAPABILITY:
        wants, has = (".".join(map(str, version)) for version in (CAPABILITY, capability))
        raise TunesmithError(f"fp8 needs compute capability {wants}, and {device} has {has}.", "Leave it out; bf16 runs there.")
